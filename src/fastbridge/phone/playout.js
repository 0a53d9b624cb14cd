// The carrier's buffer, as Twilio's behaves: media is played in order of arrival and without gaps
// while there is any; a mark is echoed when all media before it was played, at once when nothing
// waits; `clear` empties the buffer and sends all marks back. No clock and no audio in here:
// `take` is asked for 8 kHz samples, `echoes` for the marks that are due.

export const BYTES_MAX = 600 * 8000; // ten minutes; more is refused whole, and counted
export const MARKS_MAX = 10000;

export class Playout {
  constructor() {
    this.pieces = [];
    this.offset = 0; // into the first piece
    this.waiting = 0; // bytes
    this.played = 0; // position of the ear in all accepted bytes
    this.marks = []; // [position it waits for, name], in order
    this.echoes = []; // names that are due
    this.refusedBytes = 0;
    this.refusedMarks = 0;
    this.clearedBytes = 0;
  }

  media(bytes) {
    if (this.waiting + bytes.length > BYTES_MAX) {
      this.refusedBytes += bytes.length;
      return false;
    }
    this.pieces.push(bytes);
    this.waiting += bytes.length;
    return true;
  }

  mark(name) {
    if (!this.waiting) this.echoes.push(name);
    else if (this.marks.length < MARKS_MAX) this.marks.push([this.played + this.waiting, name]);
    else this.refusedMarks += 1;
  }

  clear() {
    const cleared = this.waiting;
    this.clearedBytes += cleared;
    this.pieces = [];
    this.offset = 0;
    this.waiting = 0;
    for (const [, name] of this.marks) this.echoes.push(name);
    this.marks = [];
    return cleared;
  }

  // Returns the next byte, -1 when the buffer is dry.
  take() {
    if (!this.waiting) return -1;
    const piece = this.pieces[0];
    const byte = piece[this.offset];
    this.offset += 1;
    if (this.offset === piece.length) {
      this.pieces.shift();
      this.offset = 0;
    }
    this.waiting -= 1;
    this.played += 1;
    while (this.marks.length && this.marks[0][0] <= this.played) {
      this.echoes.push(this.marks.shift()[1]);
    }
    return byte;
  }

  takeEchoes() {
    const due = this.echoes;
    this.echoes = [];
    return due;
  }
}
