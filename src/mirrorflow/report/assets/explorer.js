"use strict";
// The explorer: a slider over log log t and a choice of map move the net in the plane.
// Needs plane.js. Each .explorer on the page carries its numbers in a script of type JSON.

const SIDE = 400; // of the plane's drawing
const CELLS = 72; // of the grid that the boundary is sought on
const WIDE = 400; // of the charts over time
const HIGH = 130;

function draw(tag, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

const fixed = (value, digits = 2) => value.toFixed(digits);
const percent = (value) => `${(100 * value).toPrecision(3)} %`;

class Explorer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    const { data } = this;
    this.frames = data.times.length;
    const size = data.net.shapes.reduce((sum, [rows, columns]) => sum + rows * columns, 0);
    for (const map of data.maps) {
      map.weights = unpack(map.weights, size);
      map.margins = unpack(map.margins, data.x.length);
      map.multipliers = unpack(map.multipliers, data.x.length);
      map.margin = unpack(map.margin, 1).map((row) => row[0]);
      map.balls = unpack(map.balls, data.angles);
      map.horizon = unpack(map.horizon, data.angles)[0];
    }
    this.xs = Array.from({ length: CELLS + 1 }, (_, k) =>
      data.centre[0] + data.half * ((2 * k) / CELLS - 1));
    this.ys = this.xs.map((x) => x - data.centre[0] + data.centre[1]);
    this.part = (name) => root.querySelector(`[data-part=${name}]`);
    this.slider = root.querySelector("input[type=range]");
    this.slider.max = this.frames - 1;
    this.slider.value = this.frames - 1;
    this.slider.addEventListener("input", () => this.show());
    for (const choice of root.querySelectorAll("input[type=radio]")) {
      choice.addEventListener("change", () => this.choose());
    }
    root.querySelector("button").addEventListener("click", () => this.play());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.choose());
    addEventListener("beforeprint", () => this.show());
    this.choose();
    root.dataset.ready = "yes";
  }

  /** What does not move with time: the charts of the chosen map, and its horizon. */
  choose() {
    const place = Number(this.root.querySelector("input[type=radio]:checked").value);
    this.map = this.data.maps[place];
    this.drawMargins();
    this.drawMultipliers();
    this.show();
  }

  play() {
    const button = this.root.querySelector("button");
    if (this.timer) {
      clearInterval(this.timer);
      this.timer = null;
    } else {
      if (Number(this.slider.value) === this.frames - 1) this.slider.value = 0;
      this.timer = setInterval(() => {
        this.slider.value = Number(this.slider.value) + 1;
        this.show();
        if (Number(this.slider.value) === this.frames - 1) this.play();
      }, 60);
    }
    button.textContent = this.timer ? "Pause" : "Play";
  }

  show() {
    const frame = Number(this.slider.value);
    const { data, map } = this;
    this.layers = layersOf(data.net, map.weights[frame]);
    this.drawPlane(frame);
    this.drawBall(frame);
    for (const line of this.root.querySelectorAll(".cursor")) {
      const x = fixed((WIDE * frame) / (this.frames - 1));
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    const time = `t = ${data.times[frame]}`;
    const margin = map.margin[frame];
    const share = margin / map.margin[this.frames - 1];
    const words = [`${map.name} at ${time}`, `margin ${margin.toPrecision(4)}`];
    if (margin > 0 && share > 0) words[1] += ` (${percent(share)} of its last)`;
    const strong = this.strengths();
    if (strong.length) {
      const sum = strong.reduce((a, b) => a + b, 0);
      const used = sum ** 2 / strong.reduce((a, b) => a + b * b, 0);
      words.push(`${used.toPrecision(3)} of ${strong.length} neurons in use`);
    }
    if (frame > map.last) words.push("the flow ended before this time");
    this.part("said").textContent = words.join("; ");
    this.slider.setAttribute("aria-valuetext", time);
    this.part("plane").setAttribute("aria-label", `Decision boundary. ${words.join("; ")}.`);
    this.fillTable(frame);
  }

  /** In pixels of the plane's drawing. */
  at(x, y) {
    const { centre, half } = this.data;
    return [(SIDE / 2) * (1 + (x - centre[0]) / half), (SIDE / 2) * (1 - (y - centre[1]) / half)];
  }

  /** Norm in times norm out of each hidden unit of the first layer. */
  strengths() {
    if (this.layers.length < 2) return [];
    return this.layers[0].norms.map((norm, j) =>
      norm * Math.hypot(...this.layers[1].matrix.map((row) => row[j])));
  }

  colour(label) {
    const styles = getComputedStyle(this.root);
    if (!this.data.classes) return styles.getPropertyValue(label > 0 ? "--plus" : "--minus").trim();
    return styles.getPropertyValue(`--class-${label % 8}`).trim();
  }

  /** For each class the function that is positive where the net decides for it. */
  fields(x, y) {
    const out = outputs(this.data.net, this.layers, x, y);
    if (out.length === 1) return out;
    return out.map((value, c) => value - Math.max(...out.filter((_, k) => k !== c)));
  }

  drawPlane(frame) {
    const { data, map, xs, ys } = this;
    const svg = this.part("plane");
    svg.replaceChildren();
    const all = ys.map((y) => xs.map((x) => this.fields(x, y)));
    this.paint(all);
    this.drawNeurons(svg);
    const line = (c, level) => {
      const values = all.map((row) => row.map((each) => each[c] - level));
      const f = (x, y) => this.fields(x, y)[c] - level;
      return zeroLine(f, xs, ys, values)
        .map(([a, b]) => `M${this.at(...a).map((v) => fixed(v, 3)).join(" ")}`
          + `L${this.at(...b).map((v) => fixed(v, 3)).join(" ")}`)
        .join("");
    };
    const margin = map.margin[frame];
    if (!data.classes && margin > 0) {
      draw("path", { class: "level", d: line(0, margin) + line(0, -margin) }, svg);
    }
    const borders = all[0][0].map((_, c) => line(c, 0)).join("");
    draw("path", { class: "boundary", "data-part": "boundary", d: borders }, svg);
    data.x.forEach(([x, y], k) => {
      const [px, py] = this.at(x, y);
      const weight = map.multipliers[frame][k];
      const group = draw("g", { class: "point" }, svg);
      if (weight > 1e-3) {
        draw("circle", { class: "ring", cx: px, cy: py, r: fixed(5 + 14 * Math.sqrt(weight)) }, group);
      }
      draw("circle", { cx: px, cy: py, r: 4.5, fill: this.colour(data.y[k]) }, group);
      draw("title", {}, group).textContent = this.told(frame, k);
    });
  }

  told(frame, k) {
    const { data, map } = this;
    return `point ${k + 1}: label ${data.y[k]}, margin ${map.margins[frame][k].toPrecision(4)}, `
      + `multiplier ${map.multipliers[frame][k].toPrecision(3)}`;
  }

  /** The field as colours: stronger where the net is surer. */
  paint(all) {
    const canvas = this.part("field");
    canvas.width = CELLS + 1;
    canvas.height = CELLS + 1;
    const image = new ImageData(CELLS + 1, CELLS + 1);
    const labels = this.data.classes ? all[0][0].map((_, c) => c) : [-1, 1];
    const colours = labels.map((label) => this.colour(label).match(/\w\w/g).map((h) => parseInt(h, 16)));
    const sure = all.map((row) => row.map((each) => Math.max(...each.map(Math.abs))));
    const top = Math.max(...sure.map((row) => Math.max(...row))) || 1;
    all.forEach((row, j) => row.forEach((each, i) => {
      const place = each.length === 1 ? Number(each[0] > 0) : each.indexOf(Math.max(...each));
      const strength = each.length === 1 ? Math.abs(each[0]) : Math.max(...each);
      const alpha = 255 * (0.06 + 0.44 * Math.sqrt(strength / top));
      image.data.set([...colours[place], alpha], 4 * ((CELLS - j) * (CELLS + 1) + i));
    }));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** Each hidden unit as the line where it switches, with a tick towards its active side. */
  drawNeurons(svg) {
    const { data } = this;
    const strong = this.strengths();
    const top = Math.max(...strong, 1e-300);
    const signed = this.layers.length === 2 && !data.classes;
    strong.forEach((strength, j) => {
      const share = strength / top;
      if (share < 1e-3) return;
      const w = this.layers[0].matrix[j];
      const square = w[0] ** 2 + w[1] ** 2;
      if (!(square > 0)) return;
      const off = (w[0] * data.centre[0] + w[1] * data.centre[1] + (data.net.bias ? w[2] : 0)) / square;
      const foot = [data.centre[0] - off * w[0], data.centre[1] - off * w[1]];
      const unit = [w[0] / Math.sqrt(square), w[1] / Math.sqrt(square)];
      const ends = [-4, 4].map((s) =>
        this.at(foot[0] - s * data.half * unit[1], foot[1] + s * data.half * unit[0]));
      const tip = this.at(foot[0] + 0.08 * data.half * unit[0], foot[1] + 0.08 * data.half * unit[1]);
      const sign = signed ? this.layers[1].matrix[0][j] > 0 : null;
      const look = {
        class: sign === null ? "neuron" : `neuron ${sign ? "plus" : "minus"}`,
        "stroke-width": fixed(0.6 + 2.4 * share),
        "stroke-opacity": fixed(0.2 + 0.7 * share),
      };
      const [a, b, c] = [...ends, tip].map((p) => p.map((v) => fixed(v)).join(" "));
      draw("path", { ...look, d: `M${a}L${b}M${this.at(...foot).map((v) => fixed(v)).join(" ")}L${c}` }, svg);
    });
  }

  drawBall(frame) {
    const { map, data } = this;
    const svg = this.part("ball");
    svg.replaceChildren();
    const ring = (radii) => {
      const corners = Array.from(radii, (r, k) => {
        const angle = (2 * Math.PI * k) / data.angles;
        return `${fixed(100 + 60 * r * Math.cos(angle))} ${fixed(100 - 60 * r * Math.sin(angle))}`;
      });
      return `M${corners.join("L")}Z`;
    };
    draw("path", { class: "axis", d: "M10 100H190M100 10V190" }, svg);
    const radii = map.balls[map.balls.length === 1 ? 0 : frame];
    draw("path", { class: "ball", "data-part": "outline", d: ring(radii) }, svg);
    draw("path", { class: "horizon", d: ring(map.horizon) }, svg);
    const level = map.balls.length === 1
      ? "this map is homogeneous: Q_c is Q at every level"
      : `level c = ${map.levels[frame]}`;
    this.part("level").textContent = level;
    const off = Math.max(...radii.map((r, k) => Math.abs(r / map.horizon[k] - 1)));
    svg.setAttribute("aria-label",
      `Unit ball of Q_c: ${level}; its outline is at most ${percent(off)} from that of Q.`);
  }

  chart(name) {
    const svg = this.part(name);
    svg.replaceChildren();
    for (const { at, z } of this.data.ticks) {
      const x = fixed(WIDE * at);
      draw("line", { class: "grid", x1: x, x2: x, y1: 0, y2: HIGH }, svg);
      const anchor = at < 0.03 ? "start" : at > 0.97 ? "end" : "middle";
      draw("text", { x, y: HIGH + 14, "text-anchor": anchor }, svg).textContent = z;
    }
    return svg;
  }

  drawMargins() {
    const { data, map } = this;
    const svg = this.chart("margins");
    const last = map.margin[this.frames - 1];
    const unit = last > 0 ? last : Math.max(...map.margin.map(Math.abs), 1e-300);
    const [low, high] = [-0.6, 3]; // what is beyond is drawn at the rim
    const level = (value) => HIGH * (1 - (Math.min(Math.max(value / unit, low), high) - low) / (high - low));
    const path = (values) => Array.from(values, (value, k) =>
      `${k ? "L" : "M"}${fixed((WIDE * k) / (this.frames - 1))} ${fixed(level(value))}`).join("");
    for (const value of [0, 1, 2]) {
      draw("line", { class: "grid", x1: 0, x2: WIDE, y1: level(value * unit), y2: level(value * unit) }, svg);
      draw("text", { class: "value", x: 3, y: level(value * unit) - 3 }, svg).textContent = value;
    }
    data.x.forEach((_, k) => {
      const values = map.margins.map((row) => row[k]);
      const line = draw("path", { class: "margin", stroke: this.colour(data.y[k]), d: path(values) }, svg);
      draw("title", {}, line).textContent = `margin of point ${k + 1}`;
    });
    draw("path", { class: "least", d: path(map.margin) }, svg);
    draw("line", { class: "cursor", y1: 0, y2: HIGH }, svg);
    svg.setAttribute("aria-label",
      `Margins over time with ${map.name}: the smallest ends at ${last.toPrecision(4)}.`);
  }

  drawMultipliers() {
    const { data, map } = this;
    const svg = this.chart("multipliers");
    const below = new Float64Array(this.frames);
    data.x.forEach((_, k) => {
      const floor = Float64Array.from(below);
      map.multipliers.forEach((row, frame) => { below[frame] += row[k]; });
      const corner = (level, frame) =>
        `${fixed((WIDE * frame) / (this.frames - 1))} ${fixed(HIGH * (1 - level))}`;
      const upper = Array.from(below, corner);
      const lower = Array.from(floor, corner).reverse();
      const area = draw("path", {
        class: "area", fill: this.colour(data.y[k]), d: `M${[...upper, ...lower].join("L")}Z`,
      }, svg);
      draw("title", {}, area).textContent = `multiplier of point ${k + 1}`;
    });
    draw("line", { class: "cursor", y1: 0, y2: HIGH }, svg);
    const many = map.multipliers[this.frames - 1].filter((value) => value > 1e-3).length;
    svg.setAttribute("aria-label",
      `Multipliers over time with ${map.name}: at the end ${many} of ${data.x.length} points have one.`);
  }

  /** The same numbers as text, for the points with the largest multipliers. */
  fillTable(frame) {
    const { data, map } = this;
    const order = data.x.map((_, k) => k)
      .sort((a, b) => map.multipliers[frame][b] - map.multipliers[frame][a])
      .slice(0, 12);
    this.part("values").replaceChildren(...order.map((k) => {
      const row = document.createElement("tr");
      const cells = [
        k + 1, data.y[k], map.margins[frame][k].toPrecision(4), map.multipliers[frame][k].toPrecision(3),
      ];
      const names = ["point", "label", "margin", "multiplier"];
      row.append(...cells.map((text, c) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        cell.dataset.label = names[c];
        return cell;
      }));
      return row;
    }));
  }
}

for (const root of document.querySelectorAll(".explorer")) new Explorer(root);
