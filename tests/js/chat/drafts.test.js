import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Drafts } from "../../../modules/ui/web/chat/drafts.js";

let stored;
let drafts;

beforeEach(() => {
  stored = new Map();
  drafts = new Drafts({
    get: (key, fallback = null) => stored.get(key) ?? fallback,
    set: (key, value) => (value === null ? stored.delete(key) : stored.set(key, value)),
  });
});

test("each chat has its own draft, and the new chat one too", () => {
  drafts.set("a", "for a");
  drafts.set(null, "for a new one");
  assert.equal(drafts.get("a"), "for a");
  assert.equal(drafts.get(null), "for a new one");
  assert.equal(drafts.get("b"), "");
});

test("an empty draft leaves nothing behind", () => {
  drafts.set("a", "text");
  drafts.set("a", "");
  assert.equal(stored.size, 0);
});

test("a very long draft is whole on this page, and the storage holds its beginning", () => {
  const long = "x".repeat(300_000);
  drafts.set("a", long);
  assert.equal(drafts.get("a"), long);
  assert.equal([...stored.values()][0].length, 200_000);
  drafts.set("a", "short");
  assert.equal(drafts.get("a"), "short");
});

test("a system prompt remembers what it was before, and forgets it with the draft", () => {
  drafts.setSystem("a", "new", "old");
  assert.deepEqual([drafts.system("a"), drafts.systemBefore("a")], ["new", "old"]);
  drafts.setSystem("a", null);
  assert.deepEqual([drafts.system("a"), drafts.systemBefore("a")], [null, null]);
});
