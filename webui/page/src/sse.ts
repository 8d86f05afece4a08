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
    if (text !== '') this.afterReturn = false;
    for (let i = start; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code !== 10 && code !== 13) continue;
      this.pieces.push(text.slice(start, i));
      const line = this.pieces.length === 1 ? this.pieces[0]! : this.pieces.join('');
      this.pieces = [];
      this.line(line);
      if (code === 13) {
        if (i + 1 === text.length) this.afterReturn = true;
        else if (text.charCodeAt(i + 1) === 10) i++;
      }
      start = i + 1;
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
