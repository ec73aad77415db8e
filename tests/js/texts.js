// The catalogue, as the server writes it into the page's head. Import it before the module under test.

import { readFileSync } from "node:fs";

globalThis.enginehouseTexts = JSON.parse(readFileSync(new URL("../../modules/ui/texts/en.json", import.meta.url), "utf8"));
