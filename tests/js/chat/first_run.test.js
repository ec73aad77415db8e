import assert from "node:assert/strict";
import { test } from "node:test";

import { startCommand } from "../../../modules/ui/web/chat/first_run.js";

test("the command starts the server with the folder it was given", () => {
  assert.equal(startCommand(""), "python3 start.py");
  assert.equal(startCommand("/data/ud"), "python3 start.py --user-data-dir /data/ud");
  assert.equal(startCommand("C:\\My data"), 'python3 start.py --user-data-dir "C:\\My data"');
});
