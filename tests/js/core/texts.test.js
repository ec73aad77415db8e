import assert from "node:assert/strict";
import { test } from "node:test";

import "../texts.js";
import { t } from "../../../modules/ui/web/core/texts.js";

test("values are filled in, numbers with separators, and count chooses the plural", () => {
  assert.equal(t("unit.tokens", { count: 1 }), "1 token");
  assert.match(t("unit.tokens", { count: 8192 }), /^8.192 tokens$/);
  assert.equal(t("chats.deleted", { title: "a {{title}} ${x}" }), "Deleted “a {{title}} ${x}”");
});

test("a key without a text is shown itself", () => {
  assert.equal(t("no.such.key"), "no.such.key");
});
