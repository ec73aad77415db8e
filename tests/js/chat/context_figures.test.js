import assert from "node:assert/strict";
import { test } from "node:test";

import { droppedFromStart, guessTokens } from "../../../modules/ui/web/chat/context_figures.js";

test("a text is guessed by its length, and by the chat's own mean once enough of it was counted", () => {
  assert.equal(guessTokens(""), 0);
  assert.equal(guessTokens("x".repeat(38)), 10);
  assert.equal(guessTokens("x".repeat(100), { tokens: 500, characters: 1000 }), 50);
  assert.equal(guessTokens("x".repeat(38), { tokens: 30, characters: 10 }), 10);
});

const user = { role: "user", text: "x" };
const empty = { role: "assistant", text: "" };
const reply = { role: "assistant", text: "y" };

test("messages left out from the start are counted past empty replies", () => {
  assert.equal(droppedFromStart([user, empty, user, reply, user], { dropped_messages: 3 }), 4);
  assert.equal(droppedFromStart([user, reply], null), 0);
});

test("a message that is larger than the context is none of the start", () => {
  assert.equal(droppedFromStart([user, reply, user, empty, user], { dropped_messages: 1, oversized_messages: 1 }), 0);
  assert.equal(droppedFromStart([user, reply, user, reply], { dropped_messages: 3, oversized_messages: 1 }), 2);
});
