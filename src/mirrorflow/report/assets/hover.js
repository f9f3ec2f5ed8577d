"use strict";
// Values under the pointer, and under the arrow keys, for figures that carry their lines.

class Values {
  constructor(figure) {
    this.frame = figure.querySelector(".frame");
    this.image = figure.querySelector("img");
    this.lines = JSON.parse(figure.querySelector("script").textContent);
    this.tip = figure.querySelector(".tip");
    this.dot = figure.querySelector(".dot");
    this.place = [0, 0];
    this.image.addEventListener("pointermove", (event) => this.point(event));
    this.image.addEventListener("pointerleave", () => this.hide());
    this.frame.addEventListener("keydown", (event) => this.press(event));
    this.frame.addEventListener("blur", () => this.hide());
  }

  point(event) {
    const box = this.image.getBoundingClientRect();
    let best = [24, null]; // pixels
    this.lines.forEach((line, i) => line.points.forEach(([x, y], k) => {
      const away = Math.hypot(event.clientX - box.left - x * box.width, event.clientY - box.top - y * box.height);
      if (away < best[0]) best = [away, [i, k]];
    }));
    if (best[1]) this.show(...best[1]);
    else this.hide();
  }

  press(event) {
    let [i, k] = this.place;
    if (event.key === "ArrowRight") k += 1;
    else if (event.key === "ArrowLeft") k -= 1;
    else if (event.key === "ArrowDown") i += 1;
    else if (event.key === "ArrowUp") i -= 1;
    else if (event.key === "Escape") return this.hide();
    else return undefined;
    event.preventDefault();
    i = (i + this.lines.length) % this.lines.length;
    return this.show(i, Math.min(Math.max(k, 0), this.lines[i].points.length - 1));
  }

  show(i, k) {
    this.place = [i, k];
    const line = this.lines[i];
    const [x, y, u, v] = line.points[k];
    const [left, top] = [x * this.image.clientWidth, y * this.image.clientHeight];
    this.tip.textContent = `${line.name}: ${line.y} ${v} at ${line.x} ${u}`;
    this.tip.hidden = false;
    this.dot.hidden = false;
    this.dot.style.left = `${left}px`;
    this.dot.style.top = `${top}px`;
    const room = this.image.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(0, Math.min(left + 12, room))}px`;
    this.tip.style.top = `${Math.max(0, top - 34)}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.dot.hidden = true;
  }
}

for (const figure of document.querySelectorAll("figure[data-values]")) new Values(figure);
// A definition that covers something goes away with Escape.
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.activeElement.matches(".term")) document.activeElement.blur();
});
