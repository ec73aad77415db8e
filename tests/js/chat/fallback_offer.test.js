import assert from "node:assert/strict";
import { test } from "node:test";

import { editFor, largerFor } from "../../../modules/ui/web/chat/fallback_offer.js";

const reload = { kind: "reload", model: "m", settings: { context: 51200 }, changes: [] };
const node = { error: { code: "context_length_exceeded", offers: [{ kind: "edit_message", message: "m1" }, reload] } };

test("the offers of a message that does not fit are found by their kind", () => {
  assert.equal(editFor(node), "m1");
  assert.equal(largerFor(node, { model: "m", info: { context: 8192 } }), reload);
});

test("a larger context that is loaded by now is no offer any more", () => {
  assert.equal(largerFor(node, { model: "m", info: { context: 51200 } }), null);
  assert.equal(largerFor(node, { model: "other", info: { context: 51200 } }), reload);
});

test("what a chat's file has in place of offers is none", () => {
  for (const offers of [undefined, null, "text", [null, 1, { kind: "reload" }, { kind: "edit_message" }]]) {
    assert.equal(editFor({ error: { offers } }), null);
    assert.equal(largerFor({ error: { offers } }, {}), null);
  }
  assert.equal(editFor({ error: null }), null);
});
