/** A file dropped on the page: without this the browser leaves the page and opens the file. */

/**
 * Refuse dropped files, on the whole page, and call `refused` for each drop. Who takes a file prevents the default itself.
 * @param {EventTarget} target @param {() => void} refused @param {AddEventListenerOptions} options
 */
export function refuseFiles(target, refused, options = {}) {
  /** @param {Event} event */
  const holdsFiles = (event) => !event.defaultPrevented && Boolean(/** @type {DragEvent} */ (event).dataTransfer?.types.includes("Files"));
  target.addEventListener("dragover", (event) => { if (holdsFiles(event)) event.preventDefault(); }, options);
  target.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    refused();
  }, options);
}
