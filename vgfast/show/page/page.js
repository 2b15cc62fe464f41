// What a page shows of its data. uPlot stands before this in the module, for lines and axes.
// Whatever is in the data goes in as text or as numbers, never as HTML.

// ---- small things ---------------------------------------------------------------------------------------

/** An element with these attributes and children; false and null are left out, strings are text. */
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of SVG. */
function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== false && child != null && child !== ""));
  return element;
}

const paragraphs = (sentences, kind) => (sentences ?? []).map((text) => make("p", { class: kind }, text));
let themed = document.documentElement; // who knows the colours of the style sheet
const colour = (name) => getComputedStyle(themed).getPropertyValue(name).trim();
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const positive = (x) => x > 0 && x < Infinity;

/** At most so many of 0..n-1, evenly chosen, the first and the last among them. */
function evenly(n, most) {
  const shown = Math.min(n, most);
  return Array.from({ length: shown }, (_, i) => Math.round((i * (n - 1)) / Math.max(shown - 1, 1)));
}

/** The place of what is nearest to x in numbers that grow. */
function nearest(numbers, x) {
  let low = 0,
    high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - numbers[low - 1] < numbers[low] - x ? low - 1 : low;
}

/** The smallest and the largest of what is positive and finite; without any, 1 and 1. */
function limits(values) {
  let low = Infinity,
    high = 0;
  for (const value of values) {
    if (positive(value) && value < low) low = value;
    if (positive(value) && value > high) high = value;
  }
  return high ? [low, high] : [1, 1];
}

// ---- numbers as text, as in the tables of a terminal ----------------------------------------------------

const NONE = "–";
const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const whole = (n) => n.toLocaleString("en");

/** 1.2e-05 */
function power(x) {
  if (x == null || !isFinite(x)) return x == null || x !== x ? NONE : "inf";
  return x.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
}

/** So many digits, by powers of ten where there would be many zeros. */
function digits(x, n = 3) {
  if (x == null || !isFinite(x)) return x == null || x !== x ? NONE : "inf";
  return x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? power(x) : x.toPrecision(n).replace(/e.*/, "");
}

/** 12.3%, and less than a thousandth by its power of ten, so that it is not shown as none. */
function percent(x) {
  if (x == null || x !== x) return NONE;
  return x > 0 && x < 0.0005 ? `${power(100 * x)}%` : `${(100 * x).toFixed(1)}%`;
}

/** 1.29k, 51.4M */
function scaled(x, n = 3) {
  if (x == null || x !== x) return NONE;
  let letter = 0;
  for (; x >= 999.5 && letter < 8; letter++) x /= 1000;
  return (
    (x >= 10 ** n ? x.toFixed(0) : String(+x.toPrecision(n))) + ["", "k", "M", "G", "T", "P", "E", "Z", "Y"][letter]
  );
}

/** Microseconds of seconds: three digits, or all that are before the point. */
function microseconds(seconds) {
  if (seconds == null) return NONE;
  const us = 1e6 * seconds;
  return us < 0.1 ? us.toFixed(3) : us < 999.5 ? us.toPrecision(3) : whole(Math.round(us));
}

// ---- packed numbers -------------------------------------------------------------------------------------

const PLANES = { f24: 3, d32: 4, i32: 4 };

/** The numbers of a packed array; of nothing, null. */
async function unpack(packed) {
  if (packed == null) return null;
  if (Array.isArray(packed.list)) return Float64Array.from(packed.list);
  const kind = Object.keys(PLANES).find((name) => name in packed);
  const text = atob(packed[kind]);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return join(new Uint8Array(await new Response(stream).arrayBuffer()), kind);
}

/** Numbers from planes of bytes. f24 is float32 without its lowest byte, d32 the upper half of float64, each with the
    highest byte first; i32 has its lowest first. */
function join(planes, kind) {
  const n = planes.length / PLANES[kind];
  const words = new Int32Array(n);
  for (let plane = 0; plane < PLANES[kind]; plane++) {
    const shift = kind === "i32" ? 8 * plane : 24 - 8 * plane;
    for (let i = 0; i < n; i++) words[i] |= planes[plane * n + i] << shift;
  }
  if (kind === "i32") return Float64Array.from(words);
  if (kind === "f24") return Float64Array.from(new Float32Array(words.buffer));
  const halves = new Int32Array(2 * n); // of each number the lower one first
  for (let i = 0; i < n; i++) halves[2 * i + 1] = words[i];
  return new Float64Array(halves.buffer);
}

/** The fields of packed arrays by name, as numbers. */
async function unpackAll(fields) {
  const names = Object.keys(fields);
  const values = await Promise.all(names.map((name) => unpack(fields[name])));
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}

function appended(old, more) {
  const both = new Float64Array(old.length + more.length);
  both.set(old);
  both.set(more, old.length);
  return both;
}

// ---- colours of numbers ---------------------------------------------------------------------------------

const VIRIDIS = ["440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725"];

/** 256 colours from dark to bright as ImageData has them in memory, red first, on machines that are little-endian. */
const RAMP = Uint32Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (VIRIDIS.length - 1),
    first = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const [r, g, b] = [0, 2, 4].map((k) => {
    const [low, high] = [first, first + 1].map((stop) => parseInt(VIRIDIS[stop].slice(k, k + 2), 16));
    return Math.round(low + (at - first) * (high - low));
  });
  return (255 << 24) | (b << 16) | (g << 8) | r;
});

const pixelOf = (hex) =>
  0xff000000 |
  (parseInt(hex.slice(5, 7), 16) << 16) |
  (parseInt(hex.slice(3, 5), 16) << 8) |
  parseInt(hex.slice(1, 3), 16);

/** What the map shows, in the order of the keys that choose it. */
const QUANTITIES = [
  { name: "grad_norm", label: "|dW|", about: "norm of the gradient of each layer's weights", log: true, text: power },
  {
    name: "update_ratio",
    label: "step/W",
    about: "how far a step moves the weights, over their norm",
    log: true,
    text: power,
  },
  { name: "frozen", label: "frozen", about: "share of weights whose bits the step leaves as they are", text: percent },
  {
    name: "saturated",
    label: "sat.",
    about: "share of saturated activations: less than 1% of the largest slope",
    text: percent,
  },
  { name: "dead", label: "dead", about: "share of dead units: no slope on any row of the batch", text: percent },
];

/** From where to where the colours of a quantity go: shares from 0 to a round number. */
function scaleOf(quantity, values) {
  const [low, high] = limits(values);
  if (quantity.log) return { low, high, place: (x) => (high > low ? Math.log(x / low) / Math.log(high / low) : 0.5) };
  const round = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find((most) => high <= most) ?? 1;
  return { low: 0, high: round, place: (x) => x / round };
}

/** The colour of each value; grey for exact zeros and for what is no number. */
function shades(values, scale) {
  const grey = pixelOf(colour("--nothing"));
  return Uint32Array.from(values, (x) => (x > 0 ? RAMP[Math.round(255 * clamp(scale.place(x), 0, 1))] : grey));
}

// ---- what uPlot draws -----------------------------------------------------------------------------------

// Room at the left and right of both plots, so that their steps are above each other.
const LEFT = 54,
  RIGHT = 46;
const FONT = "12px system-ui, sans-serif";

/** An axis of uPlot; its colours are asked for at each drawing, as light and dark may change. */
function axis(scale, side, size, more = {}) {
  const line = { stroke: () => colour("--line"), width: 1 };
  const values = (_, splits) => splits.map((x) => (x == null ? "" : scaled(x)));
  return {
    scale,
    side,
    size,
    font: FONT,
    stroke: () => colour("--muted"),
    grid: { ...line },
    ticks: { ...line, size: 5 },
    values,
    gap: 4,
    ...more,
  };
}

/** Options that both plots share: steps from left to right, and a cursor that only the slider moves. */
function plotOptions(width, height, end, axes, more) {
  const never = () => null;
  const steps = axis("x", 2, 30, {
    space: 60,
    incrs: [1, 2, 5, 10, 20, 25, 50, ...[2, 3, 4, 5, 6, 7, 8, 9].flatMap((e) => [10 ** e, 2 * 10 ** e, 5 * 10 ** e])],
  });
  return {
    width,
    height,
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      bind: {
        mousedown: never,
        mouseup: never,
        mousemove: never,
        mouseenter: never,
        mouseleave: never,
        dblclick: never,
      },
    },
    padding: [8, 0, 0, 0],
    ...more,
    axes: [steps, ...axes],
    scales: { x: { time: false, range: () => [0, end()] }, ...more.scales },
  };
}

/** The lines above the map: the loss of batches, and what each epoch came to. */
const LINES = [
  { name: "loss", label: "loss of a batch", scale: "loss", colour: "--ink" },
  { name: "val_loss", label: "validation loss", scale: "loss", colour: "--ink", dash: [5, 3] },
  { name: "accuracy", label: "accuracy (right)", scale: "share", colour: "--blue" },
  { name: "val_accuracy", label: "validation accuracy (right)", scale: "share", colour: "--blue", dash: [5, 3] },
];

const linesOf = (epochs) =>
  LINES.filter((line) => line.name === "loss" || epochs.some((epoch) => epoch[line.name] != null));

/** Loss and accuracies over the steps, as uPlot wants them. */
function lossData(history) {
  const { epochs, epoch_steps: ends } = history.part;
  const own = linesOf(epochs)
    .slice(1)
    .map((line) => epochs.map((epoch) => epoch[line.name] ?? null));
  const loss = [[...history.lossSteps], Array.from(history.loss, (x) => (isFinite(x) ? x : null))];
  return own.length ? uPlot.join([loss, [ends, ...own]]) : loss;
}

function lossPlot(target, width, history) {
  const epochs = history.part.epochs;
  const [low, high] = limits(history.loss);
  const spread = high > 20 * low && history.loss.every((x) => !(x <= 0));
  const stroke = (line) => () => colour(line.colour);
  const series = linesOf(epochs).map((line) => ({
    scale: line.scale,
    stroke: stroke(line),
    width: line.name === "loss" ? 1 : 1.75,
    dash: line.dash,
    spanGaps: true,
    points: { show: line.name !== "loss" && epochs.length < 40, size: 5, fill: stroke(line), stroke: stroke(line) },
  }));
  const shares = series.some((one) => one.scale === "share");
  const logs = { splits: (u) => logTicks(u.scales.loss.min, u.scales.loss.max), filter: (_, all) => all };
  const axes = [
    axis("loss", 3, LEFT, { space: 28, ...(spread ? logs : {}) }),
    axis("share", 1, RIGHT, {
      show: shares,
      grid: { show: false },
      space: 28,
      values: (_, all) => all.map((x) => `${Math.round(100 * x)}%`),
    }),
  ];
  const scales = {
    loss: {
      distr: spread ? 3 : 1,
      range: spread ? undefined : (_, a, b) => [Math.min(0, a ?? 0), (b ?? 1) * 1.05 || 1],
    },
    share: { range: () => [0, 1] },
  };
  const options = plotOptions(width, 170, () => history.end, axes, {
    scales,
    padding: [8, shares ? 0 : RIGHT, 0, 0],
    series: [{}, ...series],
  });
  return new uPlot(options, lossData(history), target);
}

/** The map, layer x step: axes by uPlot, and below them a colour a pixel. */
function mapPlot(target, width, height, history, coloursOf) {
  const n = history.n_layers;
  const every = Math.ceil(n / 11);
  const layers = () => Array.from({ length: Math.ceil(n / every) }, (_, i) => 1 + i * every);
  const axes = [
    axis("layer", 3, LEFT, { splits: layers, grid: { show: false }, values: (_, all) => all.map(whole), label: null }),
  ];
  const options = plotOptions(width, height, () => history.end, axes, {
    scales: { layer: { range: () => [0.5, n + 0.5], dir: -1 } },
    padding: [8, RIGHT, 0, 0],
    series: [{}, { scale: "layer", paths: () => null, points: { show: false } }],
    hooks: { drawClear: [(u) => paint(u, history, coloursOf())] },
  });
  options.axes[0].grid = { show: false };
  return new uPlot(
    options,
    [
      [0, 1],
      [1, n],
    ],
    target,
  );
}

/** A pixel has the colour of the record whose step is nearest, and of the layer that it is on; what is farther from
    any than they are from each other has none. */
function paint(u, history, colours) {
  const { left, top, width, height } = u.bbox,
    { steps, n_layers: n, end } = history;
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const records = Int32Array.from({ length: width }, (_, x) => history.recordAt(((x + 0.5) / width) * end));
  for (let y = 0; y < height; y++) {
    const layer = Math.floor(((y + 0.5) / height) * n);
    for (let x = 0; x < width; x++) {
      if (records[x] >= 0) pixels[y * width + x] = colours[records[x] * n + layer];
    }
  }
  u.ctx.putImageData(image, left, top);
}

// ---- the ledger -----------------------------------------------------------------------------------------

const MOST_ROWS = 62;
const BARS = 250; // pixels of the axis of gains
const ROW = 22;
const FACTORS = [
  { name: "weight_gain", label: "weights", colour: "--blue" },
  { name: "activation_gain", label: "act.", colour: "--orange" },
  { name: "normalization_gain", label: "norm", colour: "--green" },
  { name: "skip_gain", label: "skip", colour: "--pink" },
];

/** The axis of gains: from the least to the largest of nearly all, 1 among them; a few that diverge do not press the
    others together. Some thousand numbers, evenly chosen, are enough to know that. */
function gainAxis(fields) {
  const some = fields.flatMap((values) => evenly(values.length, 2000).map((i) => values[i]));
  const all = Float64Array.from(some.filter(positive)).sort();
  const at = (share) => all[Math.round(share * (all.length - 1))] ?? 1;
  const low = Math.log(Math.min(at(0.005), 0.5) / 1.15),
    high = Math.log(Math.max(at(0.995), 2) * 1.15);
  const x = (gain) => clamp(((Math.log(gain) - low) / (high - low)) * BARS, 0, BARS);
  return { low: Math.exp(low), high: Math.exp(high), x };
}

/** Round numbers for a log axis, some five of them. */
function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const first = Math.floor(Math.log10(low)),
    n = Math.ceil(decades) + 1;
  const every = Math.max(1, Math.ceil(decades / 5));
  const steps = decades < 1.5 ? [1, 2, 5] : [1];
  const found = Array.from({ length: n + 1 }, (_, i) => first + i).filter((e) => e % every === 0);
  return found.flatMap((e) => steps.map((step) => +`${step}e${e}`)).filter((x) => x >= low && x <= high);
}

/** A table with a row a layer, whose numbers change from step to step: `show(value)` asks value(field, layer). */
class Ledger {
  /** fields: the numbers of all steps by name, from which the axes are; band: null, or theory's by name and layer. */
  constructor(fields, n, band, label) {
    this.n = n;
    this.band = band;
    this.factors = FACTORS.filter(({ name }, i) => i < 2 || name in fields);
    this.axis = gainAxis([...this.factors, { name: "gain" }].map(({ name }) => fields[name]));
    [this.least, this.most] = limits(fields.grad_norm);
    this.rows = evenly(n, MOST_ROWS).map((layer) => this.row(layer));
    this.table = make(
      "table",
      { class: "ledger" },
      this.head(),
      make(
        "tbody",
        {},
        this.rows.map((row) => row.element),
      ),
    );
    const scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, this.table);
    const some = `${this.rows.length} of ${whole(n)} layers are shown, evenly chosen.`;
    this.element = make("div", {}, this.key(), scroll, n > MOST_ROWS && make("p", { class: "quiet" }, some));
  }

  head() {
    const { low, high, x } = this.axis;
    const ticks = logTicks(low, high).map((gain) => [
      draw("line", { x1: x(gain), x2: x(gain), y1: 17, y2: ROW }),
      draw("text", { x: clamp(x(gain), 8, BARS - 8), y: 12, "text-anchor": "middle" }, String(gain)),
    ]);
    const scale = draw("svg", { width: BARS, height: ROW, class: "axis", "aria-hidden": "true" }, ticks);
    const bars = make("th", { scope: "col", class: "bars" }, make("span", { class: "unseen" }, "gain as bars"), scale);
    const column = (label, about) => make("th", { scope: "col", title: about }, label);
    const gains = this.factors.map(({ label }, i) => column((i ? "× " : "") + label));
    const [norm, ratio, ...shares] = QUANTITIES.map(({ label, about }) => column(label, about));
    return make("thead", {}, make("tr", {}, column("layer"), norm, gains, column("= gain"), bars, ratio, shares));
  }

  key() {
    const mark = (kind, text, own) =>
      make("li", {}, make("span", { class: `mark ${kind}`, style: own && `--mark: var(${own})` }), text);
    const factors = this.factors.map(({ label, colour: own }) => mark("block", label, own));
    return make(
      "ul",
      { class: "key" },
      factors,
      mark("diamond", "gain, their product"),
      this.band && mark("range", "predicted by theory, 95%"),
    );
  }

  /** One layer: its cells, and what is drawn in the cell of bars. */
  row(layer) {
    const cells = {};
    const cell = (name) => (cells[name] = make("td", { "data-field": name }));
    const bars = this.factors.map(({ colour: own }, i) =>
      draw("rect", { y: 4 + i * 5, height: 5, style: `fill: var(${own})` }),
    );
    if (this.factors.length === 2) bars.forEach((bar, i) => fill(bar, { y: 4 + i * 7, height: 7 }, []));
    const gain = draw("path", { class: "gain" });
    const zero = draw("line", { class: "one", x1: this.axis.x(1), x2: this.axis.x(1), y1: 0, y2: ROW });
    const picture = draw(
      "svg",
      { width: BARS, height: ROW, "aria-hidden": "true" },
      this.theory(layer),
      zero,
      bars,
      gain,
    );
    const last = layer === this.n - 1;
    const drawn = make(
      "td",
      { class: "bars" },
      last ? make("span", { class: "quiet" }, "the signal starts here") : picture,
    );
    const [norm, ratio, ...shares] = QUANTITIES.map(({ name }) => cell(name));
    const gains = [...this.factors, { name: "gain" }].map(({ name }) => cell(name));
    const head = make("th", { scope: "row" }, whole(layer + 1));
    return {
      layer,
      cells,
      bars,
      gain,
      element: make("tr", { "data-layer": layer + 1 }, head, norm, gains, drawn, ratio, shares),
    };
  }

  /** Theory's band, and a line at what it predicts. */
  theory(layer) {
    const of = (name) => this.band?.[name]?.[layer];
    const [low, middle, high] = ["predicted_low", "predicted_gain", "predicted_high"].map(of);
    const { x } = this.axis;
    const range =
      positive(low) &&
      positive(high) &&
      draw("rect", { class: "band", x: x(low), width: Math.max(x(high) - x(low), 1.5), y: 0, height: ROW });
    return [
      range,
      positive(middle) && draw("line", { class: "predicted", x1: x(middle), x2: x(middle), y1: 0, y2: ROW }),
    ];
  }

  show(value) {
    for (const row of this.rows) {
      for (const { name, text } of [...QUANTITIES, ...this.factors, { name: "gain" }]) {
        const x = value(name, row.layer);
        row.cells[name].textContent = (text ?? digits)(x);
        row.cells[name].dataset.value = x == null || x !== x ? "" : String(x);
      }
      this.underline(row, value);
      this.drawGain(row, value);
    }
  }

  /** Norms and shares as lines below their numbers. */
  underline({ cells, layer }, value) {
    const norm = value("grad_norm", layer);
    const along = positive(norm)
      ? 0.04 + 0.96 * (this.most > this.least ? Math.log(norm / this.least) / Math.log(this.most / this.least) : 1)
      : 0;
    cells.grad_norm.style.setProperty("--share", along);
    for (const name of ["frozen", "saturated", "dead"])
      cells[name].style.setProperty("--share", value(name, layer) || 0);
  }

  /** Each factor goes on from where the one before ended, so that the last ends at the gain. */
  drawGain({ bars, gain, layer }, value) {
    const { x } = this.axis;
    let product = 1;
    bars.forEach((bar, i) => {
      const from = x(product);
      product *= value(this.factors[i].name, layer);
      const to = product === 0 ? 0 : x(product);
      bar.setAttribute("x", Math.min(from, to) || 0);
      bar.setAttribute("width", product === product ? Math.max(Math.abs(to - from), 1) : 0);
    });
    const whole = value("gain", layer);
    const at = whole === 0 ? 0 : x(whole);
    gain.setAttribute("d", whole === whole && whole != null ? `M${at - 4} 11L${at} 7L${at + 4} 11L${at} 15Z` : "");
  }
}

// ---- reports --------------------------------------------------------------------------------------------

/** The verdict in its words, and what was tried against it. */
function verdictBox(report, id) {
  const words = make("p", {}, make("strong", {}, report.verdict), `: ${report.explanation}`);
  const tried = report.remedies.map((remedy) => make("li", {}, remedy));
  const remedies = tried.length > 0 && [
    make("p", { class: "quiet" }, "What was tried on a copy of the net, the best first:"),
    make("ul", {}, tried),
  ];
  return make("div", { class: "verdict", "data-verdict": report.verdict, id }, words, remedies);
}

/** A report on one batch: its verdict, and its ledger. */
class Report {
  constructor(part, index, page) {
    this.element = page.section(part, index);
  }

  async update(part) {
    const of = (name) => part.layers.map((layer) => layer[name] ?? NaN);
    const names = [...QUANTITIES, ...FACTORS.slice(0, 2), { name: "gain" }].map(({ name }) => name);
    names.push(
      ...FACTORS.slice(2)
        .map(({ name }) => name)
        .filter((name) => of(name).some((x) => x === x && x !== 1)),
    );
    const band = Object.fromEntries(
      ["predicted_gain", "predicted_low", "predicted_high"].map((name) => [name, of(name)]),
    );
    const ledger = new Ledger(
      Object.fromEntries(names.map((name) => [name, of(name)])),
      part.layers.length,
      band,
      "Ledger, a row a layer",
    );
    ledger.show((name, layer) => part.layers[layer][name] ?? NaN);
    this.element.replaceChildren(...heading(part), verdictBox(part), ledger.element);
  }
}

// ---- histories ------------------------------------------------------------------------------------------

/** A training: loss, map, slider, and the ledger of the step at the slider. */
class History {
  constructor(part, index, page) {
    this.element = page.section(part, index);
    this.first = page.views.every((view) => !(view instanceof History));
    this.quantity = QUANTITIES[0];
    this.page = page;
  }

  /** Take this data in the place of what there was; the slider stays at its step, or at the end if it was there. */
  async update(part) {
    const step = this.atEnd() ? Infinity : this.steps[this.position];
    const [steps, loss, lossSteps, fields] = await Promise.all([
      unpack(part.steps),
      unpack(part.loss),
      unpack(part.loss_steps),
      unpackAll(part.fields),
    ]);
    Object.assign(this, { part, steps, loss, lossSteps, fields, n_layers: part.layers });
    this.build();
    await null; // uPlot knows its places only when this turn is over
    this.show(nearest(this.steps, step));
  }

  /** Take more records. */
  async append(message) {
    const follow = this.atEnd();
    const [steps, loss, lossSteps, fields] = await Promise.all([
      unpack(message.steps),
      unpack(message.loss),
      unpack(message.loss_steps),
      unpackAll(message.fields),
    ]);
    const { epochs, epoch_steps, n_steps, about } = message;
    Object.assign(this.part, { epochs, epoch_steps, n_steps, about: about ?? this.part.about });
    this.steps = appended(this.steps, steps);
    [this.loss, this.lossSteps] = [appended(this.loss, loss), appended(this.lossSteps, lossSteps)];
    for (const name of Object.keys(this.fields)) this.fields[name] = appended(this.fields[name], fields[name]);
    if (follow) this.position = this.steps.length - 1;
    this.page.later(this);
  }

  atEnd() {
    return !this.steps || this.position === this.steps.length - 1;
  }

  /** Where the axis of steps ends. */
  get end() {
    return Math.max(this.part.n_steps, this.steps[this.steps.length - 1] + 1, 1);
  }

  /** Which record is nearest to a step; -1 for none that is near. */
  recordAt(step) {
    const k = nearest(this.steps, step),
      last = this.steps.length - 1;
    const gap = last ? this.steps[Math.max(k, 1)] - this.steps[Math.max(k, 1) - 1] : this.end;
    return Math.abs(step - this.steps[k]) <= gap ? k : -1;
  }

  value(name, k, layer) {
    return this.fields[name][k * this.n_layers + layer];
  }

  build() {
    const { part } = this;
    const label = (text) => make(part.name ? "h3" : "h2", {}, text);
    this.about = make("div", { class: "quiet" }, paragraphs(part.about));
    this.readout = make("p", { class: "now" });
    this.sentence = make("p", { class: "quiet" });
    this.ledger = new Ledger(this.fields, this.n_layers, part.band, "Ledger of the step at the slider, a row a layer");
    this.ledgerHeading = label("");
    const plots = make("div", { class: "plots" });
    this.element.replaceChildren(
      ...heading(part),
      part.report ? verdictBox(part.report, this.first && "verdict") : "",
      this.about,
      plots,
      this.ledgerHeading,
      this.sentence,
      this.ledger.element,
    );
    this.buildPlots(plots, label);
    this.describeLoss();
  }

  buildPlots(plots, label) {
    const { epochs } = this.part;
    const line = ({ label: text, colour: own, dash }) =>
      make("li", {}, make("span", { class: `mark ${dash ? "dashes" : "line"}`, style: `--mark: var(${own})` }), text);
    const [above, below] = [make("div", { class: "plot" }), make("div", { class: "plot map" })];
    this.key = make("div", { class: "colours" });
    this.tip = make("div", { class: "tip", hidden: true });
    plots.append(
      label("Loss" + (linesOf(epochs).length > 1 ? " and accuracy" : "")),
      make("ul", { class: "key" }, linesOf(epochs).map(line)),
      above,
      label("Layer by step"),
      this.chooser(),
      this.key,
      below,
      this.scrubber(),
      this.readout,
    );
    this.width = this.page.width();
    this.plots = [
      lossPlot(above, this.width, this),
      mapPlot(below, this.width, clamp(20 * this.n_layers, 120, 400) + 38, this, () => this.shades),
    ];
    this.plots[1].over.append(this.tip);
    for (const plot of this.plots) this.follow(plot);
    this.choose(this.quantity);
  }

  /** Buttons for what the map shows. */
  chooser() {
    this.buttons = QUANTITIES.map((quantity, i) => {
      const button = make(
        "button",
        { type: "button", "data-quantity": quantity.name, title: quantity.about },
        make("kbd", { "aria-hidden": "true" }, String(i + 1)),
        quantity.label,
      );
      button.addEventListener("click", () => this.choose(quantity));
      return button;
    });
    return make("div", { class: "choice", role: "group", "aria-label": "What the map shows" }, this.buttons);
  }

  scrubber() {
    const last = this.steps.length - 1;
    this.slider = make("input", {
      type: "range",
      id: this.first && "slider",
      class: "slider",
      min: 0,
      max: last,
      step: 1,
      "aria-label": "Step",
    });
    this.slider.addEventListener("input", () => this.show(+this.slider.value));
    return this.slider;
  }

  /** A click or a drag on a plot sets the slider; above the map, the pointer shows the number. */
  follow(plot) {
    const { over } = plot;
    const at = (event) => {
      const box = over.getBoundingClientRect();
      return {
        step: ((event.clientX - box.left) / box.width) * this.end,
        y: (event.clientY - box.top) / box.height,
        box,
      };
    };
    const set = (event) => this.show(nearest(this.steps, at(event).step));
    over.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault(); // which would take the focus from the slider again
      this.slider.focus({ preventScroll: true });
      over.setPointerCapture(event.pointerId);
      set(event);
      if (plot === this.plots[1]) this.point(at(event));
    });
    over.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) set(event);
      if (plot === this.plots[1]) this.point(at(event));
    });
    over.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  /** The number at a place of the map. */
  point({ step, y, box }) {
    const k = this.recordAt(step),
      layer = clamp(Math.floor(y * this.n_layers), 0, this.n_layers - 1);
    this.tip.hidden = k < 0;
    if (k < 0) return;
    const { name, label, text } = this.quantity;
    this.tip.textContent = `step ${whole(this.steps[k])}, layer ${whole(layer + 1)}: ${label} ${text(this.value(name, k, layer))}`;
    const x = (step / this.end) * box.width,
      wide = this.tip.offsetWidth;
    this.tip.style.left = `${clamp(x - wide / 2, 0, Math.max(box.width - wide, 0))}px`;
    this.tip.style.top = `${y * box.height < 44 ? y * box.height + 18 : y * box.height - 38}px`;
  }

  /** Let the map show this quantity. */
  choose(quantity) {
    this.quantity = quantity;
    for (const button of this.buttons) button.setAttribute("aria-pressed", button.dataset.quantity === quantity.name);
    this.colourMap();
    this.plots[1].redraw();
  }

  /** Colours of all numbers, their key, and the map in words. */
  colourMap() {
    const { name, label, about, text, log } = this.quantity;
    const values = this.fields[name],
      scale = scaleOf(this.quantity, values);
    this.shades = shades(values, scale);
    const middle = log ? Math.sqrt(scale.low * scale.high) : scale.high / 2;
    const shade = make("span", { class: "shade" });
    const numbers = [scale.low, middle, scale.high].map((x) => make("span", {}, text(x)));
    const grey =
      values.some((x) => !(x > 0)) &&
      make(
        "span",
        { class: "grey" },
        make("span", { class: "mark block", style: "--mark: var(--nothing)" }),
        log ? "exactly 0, or no number" : "none",
      );
    this.key.replaceChildren(
      make("p", {}, `${label}: ${about}`),
      make("div", { class: "ramp" }, shade, make("div", { class: "numbers" }, numbers)),
      grey || "",
    );
    const range = scale.high > 0 ? `from ${text(limits(values)[0])} to ${text(limits(values)[1])}` : "all 0";
    const words = `Map of ${about}, ${count(this.n_layers, "layer")} by ${count(this.steps.length, "inspected step")}: ${range}.`;
    describe(this.plots[1], words);
  }

  /** Put the slider at a record, and show its step. */
  show(k) {
    this.position = k;
    const step = this.steps[k],
      { epochs, epoch_steps: ends, n_steps } = this.part;
    const loss = this.loss[nearest(this.lossSteps, step)];
    const past = ends.findLastIndex((end) => end <= step + 1);
    const accuracy = epochs[past]?.val_accuracy ?? epochs[past]?.accuracy;
    const more = [
      loss === loss && `loss ${digits(loss)}`,
      accuracy != null && `accuracy ${percent(accuracy)} after epoch ${past + 1}`,
    ];
    const words = [`step ${whole(step)} of ${whole(n_steps)}`, ...more.filter(Boolean)].join(", ");
    this.readout.textContent = words[0].toUpperCase() + words.slice(1);
    fill(this.slider, { max: this.steps.length - 1, "aria-valuetext": words }, []);
    this.slider.value = k;
    this.ledgerHeading.textContent = `Ledger of step ${whole(step)}`;
    this.sentence.textContent = this.journey(k);
    this.ledger.table.dataset.step = step;
    this.ledger.show((name, layer) => this.value(name, k, layer));
    for (const plot of this.plots) plot.setCursor({ left: plot.valToPos(step, "x"), top: 0 });
  }

  /** What arrives at layer 1 of the signal, by the gains of all layers. */
  journey(k) {
    let product = 1;
    for (let layer = 0; layer < this.n_layers - 1; layer++) product *= this.value("gain", k, layer);
    if (this.n_layers < 2 || !isFinite(product)) return "";
    return `Layer 1 gets ${digits(product, 2)} ${product < 1 ? "of" : "times"} layer ${whole(this.n_layers)}'s signal.`;
  }

  /** After more records, or where light and dark have changed. */
  refresh() {
    this.about.replaceChildren(...paragraphs(this.part.about));
    this.colourMap();
    this.plots[0].setData(lossData(this));
    this.plots[1].redraw();
    this.describeLoss();
    this.show(this.position);
  }

  describeLoss() {
    const last = this.loss.length - 1,
      { epochs } = this.part;
    const accuracies = epochs.map((epoch) => epoch.val_accuracy ?? epoch.accuracy).filter((x) => x != null);
    const more = accuracies.length
      ? `; accuracy from ${percent(accuracies[0])} to ${percent(accuracies[accuracies.length - 1])}`
      : "";
    describe(
      this.plots[0],
      `Loss of the batches: ${digits(this.loss[0])} at first, ${digits(this.loss[last])} at step ${whole(this.lossSteps[last] ?? 0)}${more}.`,
    );
  }

  resize(width) {
    if (width === this.width || !this.plots) return;
    this.width = width;
    for (const plot of this.plots) plot.setSize({ width, height: plot.height });
    queueMicrotask(() => this.show(this.position));
  }
}

/** What a picture shows, for those who do not see it. */
function describe(plot, words) {
  fill(plot.ctx.canvas, { role: "img", "aria-label": words }, []);
}

// ---- costs ----------------------------------------------------------------------------------------------

const PHASES = {
  forward: ["--blue", "circle"],
  dX: ["--orange", "square"],
  "dW + update": ["--red", "diamond"],
  activation: ["--green", "up"],
  loss: ["--sky", "down"],
  normalization: ["--pink", "plus"],
};
const DASHES = ["", "7 4", "7 3 2 3", "2 3"];
const MARKS = {
  circle: (r) => `M${-r} 0A${r} ${r} 0 1 0 ${r} 0A${r} ${r} 0 1 0 ${-r} 0Z`,
  square: (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`,
  diamond: (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`,
  up: (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`,
  down: (r) => `M0 ${1.2 * r}L${1.2 * r} ${-r}H${-1.2 * r}Z`,
  plus: (r) =>
    `M${-r / 3} ${-r}H${r / 3}V${-r / 3}H${r}V${r / 3}H${r / 3}V${r}H${-r / 3}V${r / 3}H${-r}V${-r / 3}H${-r / 3}Z`,
};

/** A step's cost: its roofline, and a row a phase of each layer. */
class Cost {
  constructor(part, index, page) {
    this.element = page.section(part, index);
    this.page = page;
  }

  async update(part) {
    this.part = part;
    this.width = null;
    this.roofline = make("figure", {});
    const label = (text) => make(part.name ? "h3" : "h2", {}, text);
    this.element.replaceChildren(
      ...heading(part),
      ...paragraphs(part.about, "quiet"),
      label("Roofline"),
      this.roofline,
      label("Where the time goes"),
      costTable(part),
    );
    this.resize(this.page.width());
  }

  resize(width) {
    if (width === this.width) return;
    this.width = width;
    this.roofline.replaceChildren(roofline(this.part, Math.min(width, 860)), roofKey(this.part));
  }
}

const secondsOf = (row) => row.measured ?? row.predicted;

/** The rows that are on the roofline: with operations, and with some of the time. */
function marksOf(part) {
  return part.rows
    .filter((row) => row.flops && row.of_step > 1e-3 && row.phase in PHASES)
    .map((row) => ({ ...row, x: row.intensity, y: row.flops / secondsOf(row) / 1e9 }));
}

/** Operations a second over operations a byte, both by powers of ten: what each level of memory and the peak allow,
    and what each phase reaches. */
function roofline(part, width) {
  const height = clamp(0.55 * width, 240, 420),
    marks = marksOf(part),
    peak = part.peak / 1e9;
  const [xs, ys] = [limits(marks.map((mark) => mark.x)), limits(marks.map((mark) => mark.y))];
  const [x0, x1, y0, y1] = [Math.min(xs[0] / 2, 0.1), Math.max(xs[1] * 4, 300), ys[0] / 2, 2 * peak];
  const x = (v) => LEFT + (Math.log(v / x0) / Math.log(x1 / x0)) * (width - LEFT - 12);
  const y = (v) => height - 46 - (Math.log(v / y0) / Math.log(y1 / y0)) * (height - 54);
  const roofs = Object.entries(part.roofs).map(([name, rate], i) => {
    const slope = rate / 1e9,
      from = Math.max(x0, y0 / slope);
    const title = draw("title", {}, `${name}: ${digits(slope)} GB/s`);
    return draw(
      "line",
      {
        class: "roof",
        x1: x(from),
        y1: y(from * slope),
        x2: x(peak / slope),
        y2: y(peak),
        "stroke-dasharray": DASHES[i % 4],
      },
      title,
    );
  });
  const nearest = peak / Math.max(...Object.values(part.roofs).map((rate) => rate / 1e9));
  const top = draw("line", { class: "peak", x1: x(Math.max(nearest, x0)), y1: y(peak), x2: x(x1), y2: y(peak) });
  const words = `Roofline: operations a second of ${count(marks.length, "phase")} over operations a byte, from ${digits(ys[0])} to ${digits(ys[1])} GFLOP/s, under a peak of ${digits(peak)} GFLOP/s.`;
  const axes = [...gridOf(x0, x1, x, height, false), ...gridOf(y0, y1, y, width, true)];
  const names = [
    draw("text", { x: (LEFT + width) / 2, y: height - 6, "text-anchor": "middle" }, "FLOP / byte"),
    draw(
      "text",
      { transform: `translate(12 ${height / 2 - 20}) rotate(-90)`, "text-anchor": "middle" },
      `GFLOP/s, ${part.step ? "measured" : "predicted"}`,
    ),
  ];
  return draw(
    "svg",
    { width, height, class: "roofline", role: "img", "aria-label": words },
    axes,
    names,
    roofs,
    top,
    marks.map((mark) => markOf(mark, x, y)),
    numbersOf(marks, x, y),
  );
}

/** Lines and numbers of one axis of the roofline. */
function gridOf(low, high, place, length, across) {
  return logTicks(low, high).flatMap((value) => {
    const at = place(value);
    const line = across ? { x1: LEFT, x2: length - 12, y1: at, y2: at } : { x1: at, x2: at, y1: 8, y2: length - 46 };
    const text = across
      ? { x: LEFT - 6, y: at + 4, "text-anchor": "end" }
      : { x: at, y: length - 28, "text-anchor": "middle" };
    return [draw("line", { class: "grid", ...line }), draw("text", text, scaled(value))];
  });
}

const radiusOf = (mark) => 3.5 + 9 * Math.sqrt(mark.of_step);

function markOf(mark, x, y) {
  const [own, shape] = PHASES[mark.phase];
  const title = draw(
    "title",
    {},
    `layer ${mark.layer}, ${mark.phase}: ${digits(mark.y)} GFLOP/s, ${percent(mark.of_step)} of the time`,
  );
  const at = `translate(${x(mark.x).toFixed(1)} ${y(mark.y).toFixed(1)})`;
  return draw(
    "path",
    { class: "phase", d: MARKS[shape](radiusOf(mark)), transform: at, style: `fill: var(${own})` },
    title,
  );
}

/** Below the marks, their layers; one text for those that are near each other. */
function numbersOf(marks, x, y) {
  const free = new Set([...marks].sort((a, b) => b.of_step - a.of_step));
  const texts = [];
  for (const mark of free) {
    const near = [...free].filter(
      (other) => Math.abs(x(other.x) - x(mark.x)) < 26 && Math.abs(y(other.y) - y(mark.y)) < 22,
    );
    near.forEach((other) => free.delete(other));
    const [first, last] = [Math.min, Math.max].map((of) => of(...near.map(({ layer }) => layer)));
    const below = Math.max(...near.map((other) => y(other.y) + radiusOf(other))) + 13;
    texts.push(
      draw(
        "text",
        { x: x(mark.x), y: below, "text-anchor": "middle" },
        first === last ? `${first}` : `${first}–${last}`,
      ),
    );
  }
  return texts;
}

function roofKey(part) {
  const shown = new Set(marksOf(part).map(({ phase }) => phase));
  const item = (picture, text) =>
    make("li", {}, draw("svg", { width: 26, height: 14, "aria-hidden": "true" }, picture), text);
  const phases = Object.entries(PHASES).filter(([phase]) => shown.has(phase));
  const marks = phases.map(([phase, [own, shape]]) =>
    item(draw("path", { d: MARKS[shape](5), transform: "translate(13 7)", style: `fill: var(${own})` }), phase),
  );
  const line = (kind, dash) => draw("line", { class: kind, x1: 0, x2: 26, y1: 7, y2: 7, "stroke-dasharray": dash });
  const roofs = Object.entries(part.roofs).map(([name, rate], i) =>
    item(line("roof", DASHES[i % 4]), `${name}, ${digits(rate / 1e9)} GB/s`),
  );
  const peak = item(line("peak"), `multiply-adds, ${digits(part.peak / 1e9)} GFLOP/s`);
  return make(
    "figcaption",
    {},
    make("ul", { class: "key" }, marks),
    make("ul", { class: "key" }, roofs, peak),
    make("p", { class: "quiet" }, "Numbers: the layer; sizes: the share of the time."),
  );
}

/** A row a phase, layer by layer; of layers, as many as can be read. */
function costTable(part) {
  const layers = [...new Set(part.rows.map(({ layer }) => layer))].sort((a, b) => a - b);
  const shown = evenly(layers.length, MOST_ROWS).map((i) => layers[i]);
  const largest = Math.max(...part.rows.map((row) => row.of_step ?? 0));
  const columns = costColumns(part);
  const head = make(
    "tr",
    {},
    ["layer", "phase", ...columns.map(([label]) => label)].map((label) => make("th", { scope: "col" }, label)),
  );
  const bodies = shown.map((layer) => {
    const rows = part.rows.filter((row) => row.layer === layer);
    const name = layer
      ? make(
          "th",
          { scope: "rowgroup", rowspan: rows.length },
          `${layer}`,
          make("small", {}, ` ${part.sizes[layer - 1]} → ${part.sizes[layer]}`),
        )
      : make("th", { scope: "rowgroup", rowspan: rows.length }, "batch");
    return make(
      "tbody",
      {},
      rows.map((row, i) =>
        make("tr", {}, i === 0 && name, make("th", { scope: "row" }, row.phase), costCells(columns, row, largest)),
      ),
    );
  });
  const table = make("table", { class: "cost" }, make("thead", {}, head), bodies);
  const scroll = make(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": "Cost of a step, a row a phase" },
    table,
  );
  const some = `${shown.length} of ${whole(layers.length)} layers are shown, evenly chosen.`;
  return make("div", {}, scroll, shown.length < layers.length && make("p", { class: "quiet" }, some));
}

/** What is above each column, the field, and its text. */
function costColumns(part) {
  const counted = [
    ["FLOPs", "flops", scaled],
    ["bytes", "bytes", scaled],
    ["FLOP/byte", "intensity", (x) => scaled(x, 2)],
    ["predicted µs", "predicted", microseconds],
  ];
  const measured = [
    ["measured µs", "measured", microseconds],
    ["of limit", "share", percent],
  ];
  return [
    ...counted,
    ...(part.step ? measured : []),
    ["bound by", "bound", String],
    ["share of the step", "of_step", percent],
  ];
}

function costCells(columns, row, largest) {
  return columns.map(([, name, text]) => {
    const value = row.bytes || !["flops", "bytes", "intensity"].includes(name) ? row[name] : null;
    const share = name === "of_step" && `--share: ${(value ?? 0) / largest}`;
    return make(
      "td",
      { "data-field": name, "data-value": typeof value === "number" && value, style: share },
      value == null ? NONE : text(value),
    );
  });
}

// ---- texts, tables, pictures ----------------------------------------------------------------------------

const heading = ({ name, heading: own }) => (name || own ? [make("h2", {}, name || own)] : []);

/** What only stands there. */
class Still {
  constructor(part, index, page) {
    this.element = page.section(part, index);
  }

  async update(part) {
    const show = { text: stillText, table: stillTable, picture: stillPicture }[part.kind];
    this.element.replaceChildren(...heading(part), ...show(part));
  }
}

const stillText = (part) => paragraphs(part.paragraphs);
const stillPicture = (part) => [make("img", { src: part.src, alt: part.alt })];

function stillTable(part) {
  const head = make(
    "tr",
    {},
    part.headings.map((text) => make("th", { scope: "col" }, text)),
  );
  const rows = part.rows.map((row) =>
    make(
      "tr",
      {},
      row.length === 1 // stands above those that follow
        ? make("th", { colspan: part.headings.length }, row)
        : row.map((cell, i) => make(i ? "td" : "th", { scope: i ? null : "row" }, String(cell))),
    ),
  );
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, rows));
  return [
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": part.heading || "Table" }, table),
    ...paragraphs(part.notes ? [part.notes] : [], "quiet"),
  ];
}

// ---- the page -------------------------------------------------------------------------------------------

const VIEWS = { history: History, report: Report, cost: Cost, text: Still, table: Still, picture: Still };

class Page {
  /** In the element root; keys are heard where they are pressed within that. */
  constructor(root, keys = root) {
    this.root = themed = root;
    this.views = [];
    this.waiting = new Set();
    new ResizeObserver(() => this.views.forEach((view) => view.resize?.(this.width()))).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      this.views.forEach((view) => view.refresh?.()),
    );
    keys.addEventListener("keydown", (event) => this.press(event));
  }

  /** Pixels for what is drawn. */
  width() {
    const { paddingLeft, paddingRight } = getComputedStyle(this.root);
    return Math.max(Math.floor(this.root.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)), 200);
  }

  section(part, index) {
    return make("section", { "data-part": index, "data-kind": part.kind, tabindex: -1 });
  }

  /** Everything anew. What stood in the page stays until all of this is made. */
  async show(data) {
    const known = data.parts.filter(({ kind }) => kind in VIEWS);
    this.views = [];
    for (const [index, part] of known.entries()) this.views.push(new VIEWS[part.kind](part, index, this));
    await Promise.all(this.views.map((view, index) => view.update(known[index])));
    const head = [make("h1", {}, data.title), ...paragraphs(data.about, "lead")];
    this.root.replaceChildren(...head, ...this.views.map((view) => view.element));
  }

  /** The keys 1 to 5 choose what the map shows, and arrows move the slider, wherever nothing else wants them. */
  press(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest?.("input:not(.slider), select, textarea"))
      return;
    const histories = this.views.filter((view) => view instanceof History);
    const view = histories.find(({ element }) => element.contains(target)) ?? histories[0];
    if (!view) return;
    const quantity = QUANTITIES[+key - 1];
    if (quantity) view.choose(quantity);
    const move = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (move && target === document.body) view.show(clamp(view.position + move, 0, view.steps.length - 1));
  }
}

/** Shows the data in a notebook's widget, whose style stays within it. */
async function render({ model, el }) {
  const root = make("main");
  (el.shadowRoot ?? el.attachShadow({ mode: "open" })).replaceChildren(make("style", {}, model.get("style")), root);
  const page = new Page(root);
  const show = () => page.show(model.get("data"));
  model.on("change:data", show);
  await show();
  return () => model.off("change:data", show);
}

/** Shows the data that stand in the page, if they do. */
async function start() {
  const data = document.getElementById("vgfast-data"),
    root = document.getElementById("vgfast-page");
  if (!data || !root) return;
  const begin = performance.now();
  await new Page(root, document).show(JSON.parse(data.textContent));
  root.dataset.drawn = Math.round(performance.now() - begin); // milliseconds
}

start();

export default { render };
