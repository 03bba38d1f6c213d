// The classes that a model draws, and how one speaks of them. Where each is called by its number they are digits.

const TIMES = 10;  // that a wall has each class, at most
const COLUMNS = 10;  // of a wall, at most
const TILES = 100;  // of a wall with more classes than it has rows, about

export class Classes {
  constructor(names) {
    this.names = names;
    this.areDigits = names.every((name, number) => name === String(number));
  }

  /** "a 7", or the class's name alone. */
  one(number, article = 'a') {
    return this.areDigits ? `${article} ${number}` : this.names[number];
  }

  /** "ten digits", "26 classes". */
  get all() {
    return `${this.names.length === 10 ? 'ten' : this.names.length} ${this.areDigits ? 'digits' : 'classes'}`;
  }

  /** What a file with a picture of it is called, without the ending. */
  file(number) {
    if (this.areDigits) return `digit-${number}`;
    return this.names[number].replace(/[^\p{L}\p{M}\p{N}_]+/gu, '-').replace(/^-|-$/g, '') || 'class';
  }

  /** Ten of each if there are ten or fewer; else so many that a wall has about a hundred, a whole number of classes in a row. */
  get wall() {
    const times = Math.min(TIMES, Math.max(1, Math.floor(TILES / this.names.length)));
    return {times, columns: times * Math.floor(COLUMNS / times)};
  }
}

export const DIGITS = new Classes(Array.from({length: 10}, (_, digit) => String(digit)));
