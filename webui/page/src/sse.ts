// Server-sent events, parsed by hand: EventSource cannot send an Authorization header, fetch() can.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

export interface ServerEvent {
  name: string;
  data: string;
}

export class EventParser {
  // Pieces of the unfinished line: joined once, since one event may arrive in hundreds of chunks.
  private pieces: string[] = [];
  private name = '';
  private data: string[] = [];
  private afterReturn = false;
  private first = true;

  constructor(private readonly emit: (event: ServerEvent) => void) {}

  push(text: string): void {
    if (text === '') return;
    if (this.first) {
      this.first = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    let start = 0;
    // CR LF is one line end even when the chunk ends between the two.
    if (this.afterReturn && text.charCodeAt(0) === 10) start = 1;
    this.afterReturn = false;
    // Looked for by indexOf(), which is many times faster than a loop over the characters: an event may have megabytes.
    let feed = text.indexOf('\n', start);
    let carriage = text.indexOf('\r', start);
    while (feed >= 0 || carriage >= 0) {
      const end = feed < 0 ? carriage : carriage < 0 ? feed : Math.min(feed, carriage);
      this.pieces.push(text.slice(start, end));
      const line = this.pieces.length === 1 ? this.pieces[0]! : this.pieces.join('');
      this.pieces = [];
      this.line(line);
      start = end + 1;
      if (end === carriage) {
        if (start === text.length) this.afterReturn = true;
        else if (feed === start) start++;
      }
      if (feed >= 0 && feed < start) feed = text.indexOf('\n', start);
      if (carriage >= 0 && carriage < start) carriage = text.indexOf('\r', start);
    }
    if (start < text.length) this.pieces.push(text.slice(start));
  }

  private line(line: string): void {
    if (line === '') {
      if (this.data.length > 0) this.emit({ name: this.name || 'message', data: this.data.join('\n') });
      this.name = '';
      this.data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment: keep-alive
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.name = value;
    else if (field === 'data') this.data.push(value);
  }
}
