import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatTree } from "../../../modules/ui/web/chat/chat_tree.js";

/** A chat from "id<parent" words: "a b<a c<a" is a with two versions of its answer. */
function chat(words, leaf = undefined) {
  const messages = words.split(" ").map((word) => {
    const [id, parent] = word.split("<");
    return { id, parent: parent ?? null, role: "user", text: id, state: "done", created: "" };
  });
  return new ChatTree({ id: "chat", rev: 1, messages, leaf: leaf ?? messages.at(-1)?.id });
}

const ids = (nodes) => nodes.map((node) => node.id).join(" ");

test("the path runs from the first message to the leaf", () => {
  assert.equal(ids(chat("a b<a c<b").path()), "a b c");
});

test("versions of a message are the answers to the same one", () => {
  const tree = chat("a b<a c<a d<b");
  assert.deepEqual(tree.siblings("c"), ["b", "c"]);
  assert.deepEqual(tree.siblings("a"), ["a"]);
});

test("going back to a branch shows where it was left", () => {
  const tree = chat("a b<a c<a d<b e<b");
  tree.show("d");
  tree.show("c");
  assert.equal(tree.leafUnder("b"), "d");
});

test("a branch that was never shown ends at its newest message", () => {
  assert.equal(chat("a b<a d<b e<b", "a").leafUnder("b"), "e");
});

test("a removed message takes what is below it along, and another leaf is shown", () => {
  const tree = chat("a b<a c<a d<c", "d");
  tree.remove("c");
  assert.equal(tree.leaf, "b");
  assert.equal(tree.get("d"), undefined);
});

test("a circle in a damaged chat does not hang the page", () => {
  const tree = chat("a<b b<a", "a");
  assert.equal(ids(tree.path()), "b a");
});

test("a reload keeps the branch shown, unless something new was written below it", () => {
  const old = chat("a b<a c<a", "c");
  old.show("b");
  assert.equal(chat("a b<a c<a", "c").inherit(old).leaf, "b");
  const followed = chat("a b<a", "b");
  assert.equal(chat("a b<a d<b", "d").inherit(followed).leaf, "d");
});

test("a reload keeps the branch with the message that is being edited, whatever was written elsewhere", () => {
  const old = chat("a b<a", "b");
  const edited = chat("a b<a c d<c", "d"); // another tab saved a new version of a, and got a reply
  assert.equal(edited.inherit(old).leaf, "d");
  assert.equal(chat("a b<a c d<c", "d").inherit(old, "a").leaf, "b");
  assert.equal(chat("a b<a e<b", "e").inherit(old, "a").leaf, "e"); // below it: nothing to keep from
  assert.equal(chat("c d<c", "d").inherit(old, "a").leaf, "d"); // it was deleted
});
