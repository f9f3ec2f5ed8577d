"use strict";
// A fully connected net on points of the plane, and the lines where a function is zero.

/** Little-endian float32 in base64, as rows of `width` numbers. */
function unpack(text, width) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const values = Float64Array.from({ length: bytes.length / 4 }, (_, k) =>
    view.getFloat32(4 * k, true));
  const rows = [];
  for (let k = 0; k < values.length; k += width) rows.push(values.subarray(k, k + width));
  return rows;
}

/** The weights of a net, flat, as one matrix a layer, with the norms of its rows. */
function layersOf(net, weights) {
  let start = 0;
  return net.shapes.map(([rows, columns]) => {
    const matrix = [];
    for (let r = 0; r < rows; r += 1, start += columns) {
      matrix.push(weights.subarray(start, start + columns));
    }
    return { matrix, norms: matrix.map((row) => Math.hypot(...row)) };
  });
}

function activate(net, z, scale) {
  if (net.activation === "linear") return z;
  const smooth = 0.5 * (z + Math.sqrt(z * z + scale * scale));
  return net.activation === "relu2" ? Math.max(z, 0) ** 2 : smooth;
}

/** The outputs of the net at (x, y). */
function outputs(net, layers, x, y) {
  let features = net.bias ? [x, y, 1] : [x, y];
  layers.forEach(({ matrix, norms }, depth) => {
    const size = net.eps * Math.hypot(...features);
    const last = depth === layers.length - 1;
    features = matrix.map((row, j) => {
      let z = 0;
      for (let k = 0; k < row.length; k += 1) z += row[k] * features[k];
      return last ? z : activate(net, z, size * norms[j]);
    });
  });
  return features;
}

/** Where a line from a to b crosses zero: regula falsi (Illinois) from the values at its ends. */
function crossing(f, a, b, fa, fb) {
  let [low, high, flow, fhigh, side] = [0, 1, fa, fb, 0];
  let s = 0.5;
  for (let k = 0; k < 12; k += 1) {
    s = (low * fhigh - high * flow) / (fhigh - flow);
    const value = f(a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1]));
    if (Math.abs(value) < 1e-12 * (Math.abs(fa) + Math.abs(fb))) break;
    if ((value > 0) === (fhigh > 0)) {
      [high, fhigh] = [s, value];
      if (side === 1) flow /= 2;
      side = 1;
    } else {
      [low, flow] = [s, value];
      if (side === -1) fhigh /= 2;
      side = -1;
    }
  }
  return [a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1])];
}

/**
 * Segments of the line f = 0: marching squares whose ends lie on the line itself.
 *
 * `values[j][i]` is f at (xs[i], ys[j]).
 */
function zeroLine(f, xs, ys, values) {
  const known = new Map();
  function cut(i, j, k, l) {
    const key = `${i},${j},${k},${l}`;
    if (!known.has(key)) {
      known.set(key, crossing(f, [xs[i], ys[j]], [xs[k], ys[l]], values[j][i], values[l][k]));
    }
    return known.get(key);
  }
  const segments = [];
  for (let j = 0; j + 1 < ys.length; j += 1) {
    for (let i = 0; i + 1 < xs.length; i += 1) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
      const up = corners.map(([p, q]) => values[q][p] > 0);
      const cuts = [];
      for (let e = 0; e < 4; e += 1) {
        const next = (e + 1) % 4;
        if (up[e] !== up[next]) {
          const [from, to] = e < 2 ? [corners[e], corners[next]] : [corners[next], corners[e]];
          cuts.push(cut(...from, ...to));
        }
      }
      if (cuts.length === 2) segments.push(cuts);
      if (cuts.length === 4) {
        const centre = f(0.5 * (xs[i] + xs[i + 1]), 0.5 * (ys[j] + ys[j + 1])) > 0;
        const joined = centre === up[0] ? [[0, 1], [2, 3]] : [[3, 0], [1, 2]];
        joined.forEach(([a, b]) => segments.push([cuts[a], cuts[b]]));
      }
    }
  }
  return segments;
}
