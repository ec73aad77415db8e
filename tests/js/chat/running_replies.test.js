import assert from "node:assert/strict";
import { test } from "node:test";

import { RunningReplies } from "../../../modules/ui/web/chat/running_replies.js";

const reply = (chat, message = chat) => ({ chat, message });
const chats = (found) => [...found].toSorted();

test("events that were received before the first list count more than it", () => {
  const replies = new RunningReplies();
  replies.onEvent({ ...reply("a"), state: "running" });
  replies.onEvent({ ...reply("b"), state: "done" });
  assert.deepEqual(chats(replies.all([reply("b"), reply("c")], true)), ["a", "c"]);
});

test("a list over the WebSocket is the whole truth", () => {
  const replies = new RunningReplies();
  replies.onEvent({ ...reply("a"), state: "running" });
  assert.deepEqual(chats(replies.all([reply("b")])), ["b"]);
});

test("a late list is passed over when the WebSocket has brought one since", () => {
  const replies = new RunningReplies();
  replies.all([reply("a")]);
  assert.deepEqual(chats(replies.all([reply("b")], true)), ["a"]);
});

test("what ended after the WebSocket's list does not come back with a late one", () => {
  const replies = new RunningReplies();
  replies.all([reply("a"), reply("b")]);
  replies.onEvent({ ...reply("b"), state: "done" });
  assert.deepEqual(chats(replies.all([reply("a"), reply("b")], true)), ["a"]);
});

test("a chat with two replies is running until both have ended", () => {
  const replies = new RunningReplies();
  replies.onEvent({ ...reply("a", "1"), state: "running" });
  replies.onEvent({ ...reply("a", "2"), state: "running" });
  assert.deepEqual(chats(replies.onEvent({ ...reply("a", "1"), state: "done" })), ["a"]);
  assert.deepEqual(chats(replies.onEvent({ ...reply("a", "2"), state: "failed" })), []);
});
