import assert from "node:assert/strict";
import { test } from "node:test";

import { refuseFiles } from "../../../modules/ui/web/core/file_drop.js";

/** What a browser sends while something of this type is dragged; true = it would do what it always does. */
function drag(target, name, type) {
  const event = new Event(name, { cancelable: true });
  event.dataTransfer = { types: [type] };
  return target.dispatchEvent(event);
}

test("a file that is dropped does not take the page away, and the person is told", () => {
  const page = new EventTarget();
  let told = 0;
  refuseFiles(page, () => { told += 1; });
  assert.equal(drag(page, "dragover", "Files"), false);
  assert.equal(drag(page, "drop", "Files"), false);
  assert.equal(told, 1);
});

test("text may be dropped as ever", () => {
  const page = new EventTarget();
  let told = 0;
  refuseFiles(page, () => { told += 1; });
  assert.equal(drag(page, "dragover", "text/plain"), true);
  assert.equal(drag(page, "drop", "text/plain"), true);
  assert.equal(told, 0);
});

test("whoever takes files keeps them", () => {
  const page = new EventTarget();
  let told = 0;
  page.addEventListener("drop", (event) => event.preventDefault());
  refuseFiles(page, () => { told += 1; });
  drag(page, "drop", "Files");
  assert.equal(told, 0);
});
