import assert from "node:assert/strict";
import { test } from "node:test";

import "../texts.js";
import { describe } from "../../../modules/ui/web/chat/message_counts.js";

const messages = (...roles) => roles.map((role) => ({ role }));

test("one message is named, several are counted by who wrote them", () => {
  assert.equal(describe(messages("assistant")), "the reply");
  assert.equal(describe(messages("user")), "your message");
  assert.equal(describe(messages("user", "assistant")), "2 messages (1 yours, 1 reply)");
  assert.equal(describe(messages("user", "assistant", "assistant", "user", "assistant")), "5 messages (2 yours, 3 replies)");
});
