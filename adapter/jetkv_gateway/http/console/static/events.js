/** Reads server-sent events from a stream, since `EventSource` cannot send a credential. */

/** @typedef {{id: string | undefined, data: string}} SentEvent */

/**
 * Take events apart as they come (HTML Standard §9.2.6).
 */
export class EventParser {
  #rest = "";

  /**
   * @param {string} text
   * @returns {SentEvent[]} events with data, and bookmarks, which have none
   */
  push(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    return blocks.map(readBlock).filter((event) => event.data !== "" || event.id !== undefined);
  }
}

/** @returns {SentEvent} */
function readBlock(/** @type {string} */ block) {
  const data = [];
  let id;
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "id") id = value;
  }
  return { id, data: data.join("\n") };
}
