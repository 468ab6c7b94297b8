// Server-sent events out of a byte stream (the HTML standard's event stream format). EventSource cannot
// send an Authorization header, fetch can.

export interface ServerEvent {
  event: string;
  data: string;
}

export class EventParser {
  private rest = "";
  private event = "";
  private data: string[] = [];
  private skipLineFeed = false;

  // Events that `text` completes. CR, LF and CRLF end lines, also where a chunk ends between CR and LF.
  push(text: string): ServerEvent[] {
    if (this.skipLineFeed && text.length > 0) {
      if (text.startsWith("\n")) text = text.slice(1);
      this.skipLineFeed = false;
    }
    if (text.endsWith("\r")) this.skipLineFeed = true;
    const lines = (this.rest + text).split(/\r\n|\r|\n/);
    this.rest = lines.pop() ?? "";
    const events: ServerEvent[] = [];
    for (const line of lines) this.take(line, events);
    return events;
  }

  private take(line: string, events: ServerEvent[]): void {
    if (line === "") {
      if (this.data.length > 0) events.push({ event: this.event || "message", data: this.data.join("\n") });
      this.event = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment that keeps the line open
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.event = value;
    if (field === "data") this.data.push(value);
  }
}
