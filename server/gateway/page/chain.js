// A picture on the page, and the chain of frames that it came by.
//
// A chain may take 20 ms or a minute. It is shown in `SHOWN_MS` at least, however fast it was, and no faster than frames
// come; frames are kept, so that one can go back through them. Who prefers less motion sees the end alone.

const SHOWN_MS = 2400;

/** Whether less motion is preferred. */
export const still = matchMedia('(prefers-reduced-motion: reduce)');

/** 32x32 pixels of the noise that every chain starts from. */
export function noise() {
  const canvas = Object.assign(document.createElement('canvas'), {width: 32, height: 32});
  const context = canvas.getContext('2d');
  const image = context.createImageData(32, 32);
  for (let i = 0; i < image.data.length; i += 4) {
    const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    image.data.fill(Math.round(127.5 * (1 + normal)), i, i + 3);
    image.data[i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

export class Chain {
  #image; #step; #scrub; #began = 0; #playing = 0;

  constructor(name = '') {
    this.element = document.getElementById('chain').content.firstElementChild.cloneNode(true);
    this.#image = this.element.querySelector('img');
    this.#step = this.element.querySelector('.step');
    this.#scrub = this.element.querySelector('.scrub');
    this.element.querySelector('.name').textContent = name;
    this.#scrub.setAttribute('aria-label', name ? `Step of ${name}` : 'Step');
    this.#scrub.addEventListener('input', () => {
      this.pause();
      this.#show(Number(this.#scrub.value));
    });
    this.begin('Noise: what every picture starts as');
    this.say('\u00a0');
  }

  /** A new chain. `alt` says what is to be seen. */
  begin(alt) {
    this.pause();
    Object.assign(this, {frames: [], total: 0, done: false});
    this.#image.src = noise();
    this.#image.alt = alt;
    this.#scrub.disabled = true;
    this.#scrub.max = this.#scrub.value = 0;
    delete this.element.dataset.done;
  }

  /** In the place of the step. */
  say(words) {
    this.#step.textContent = words;
  }

  /** Takes in a frame, base64 of a PNG. Frames may come in any order. */
  add(step, total, png) {
    if (this.frames.some((frame) => frame.step === step)) return;
    if (this.frames.length === 0) this.#began = performance.now();
    this.total = total;
    this.frames.push({step, png});
    this.frames.sort((a, b) => a.step - b.step);
    this.#scrub.max = this.frames.length - 1;
    if (still.matches) this.say(`step ${step} of ${total}`);
    else if (!this.#playing && !this.done) this.#play();
  }

  /** The last frame is the picture. */
  finish(total, png, alt) {
    this.frames = this.frames.filter((frame) => frame.step < total);
    this.add(total, total, png);
    this.done = true;
    this.#image.alt = alt;
    this.#scrub.disabled = this.frames.length < 2;
    this.element.dataset.done = total;
    if (still.matches) this.#show(this.frames.length - 1);
  }

  replay() {
    this.#began = performance.now();
    this.#play();
  }

  /** Shows the picture. */
  end() {
    this.pause();
    this.#show(this.frames.length - 1);
  }

  pause() {
    cancelAnimationFrame(this.#playing);
    this.#playing = 0;
  }

  get picture() {
    return this.done ? this.frames.at(-1).png : null;
  }

  #play() {
    this.pause();
    const tick = (now) => {
      const reached = (now - this.#began) / SHOWN_MS * this.total;
      const next = this.frames.findLastIndex((frame) => frame.step <= Math.max(reached, this.frames[0].step));
      this.#show(next);
      this.#playing = this.done && next === this.frames.length - 1 ? 0 : requestAnimationFrame(tick);
    };
    this.#playing = requestAnimationFrame(tick);
  }

  #show(index) {
    const {step, png} = this.frames[index];
    const source = `data:image/png;base64,${png}`;
    if (this.#image.src !== source) this.#image.src = source;
    this.#scrub.value = index;
    this.#scrub.setAttribute('aria-valuetext', `step ${step} of ${this.total}`);
    this.say(`step ${step} of ${this.total}`);
  }
}
