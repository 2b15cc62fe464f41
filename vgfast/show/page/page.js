// What a page shows of its data. uPlot stands before this in the module, for lines and axes.
// Whatever is in the data goes in as text or as numbers, never as HTML.

// ---- small things ----

/** make("p.quiet", { id: "a" }, children) has that class and, where there are any, attributes; false and null are left
    out, strings are text. */
const maker =
	create =>
	(name, ...children) => {
		const [tag, ...classes] = name.split(".");
		const element = create(tag);
		if (classes.length) element.setAttribute("class", classes.join(" "));
		if (children[0]?.constructor === Object) set(element, children.shift());
		const present = children.flat(Infinity).filter(child => child !== false && child != null && child !== "");
		element.append(...present);
		return element;
	};
const make = maker(tag => document.createElement(tag));
const draw = maker(tag => document.createElementNS("http://www.w3.org/2000/svg", tag));

function set(element, attributes) {
	for (const [name, value] of Object.entries(attributes)) {
		if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
	}
}

/** A button, and what it does. */
function button(attributes, action, ...children) {
	const element = make("button", { type: "button", ...attributes }, children);
	element.addEventListener("click", action);
	return element;
}

/** A table in a box of its own, in which it can be moved to the side. */
const scrolling = (label, table) => make("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, table);

/** That so many of all layers are shown, if they are not all. */
const someOf = (shown, all) =>
	shown < all && make("p.quiet", `${shown} of ${whole(all)} layers are shown, evenly chosen.`);

/** An item of a legend. */
const mark = (kind, text, own) => make("li", make(`span.mark.${kind}`, { style: own && `--mark: var(${own})` }), text);

const columnHead = text => make("th", { scope: "col" }, text);
const filled = own => `fill: var(${own})`;
const paragraphs = (sentences, kind) => (sentences ?? []).map(text => make(kind ? `p.${kind}` : "p", text));
let themed = document.documentElement; // who knows the colours of the style sheet
const colour = name => getComputedStyle(themed).getPropertyValue(name).trim();
const capital = text => text[0].toUpperCase() + text.slice(1);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const positive = x => x > 0 && x < Infinity;

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

// ---- numbers as text, as in the tables of a terminal ----

const NONE = "–";

const whole = n => n.toLocaleString("en");

/** Of what is no number, a dash. */
const known = text => (x, n) => (x == null || x !== x ? NONE : x === Infinity ? "inf" : text(x, n));

/** 1.2e-05 */
const power = known(x => x.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2"));

/** So many digits, by powers of ten where there would be many zeros. */
const digits = known((x, n = 3) =>
	x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e5) ? power(x) : x.toPrecision(n).replace(/e.*/, ""),
);

/** 12.3%, and less than a thousandth by its power of ten, so that it is not shown as none. */
const percent = known(x => (x > 0 && x < 0.0005 ? `${power(100 * x)}%` : `${(100 * x).toFixed(1)}%`));

/** 1.29k, 51.4M */
const scaled = known((x, n = 3) => {
	let letter = 0;
	for (; x >= 999.5 && letter < 8; letter++) x /= 1000;
	return (x >= 10 ** n ? x.toFixed(0) : String(+x.toPrecision(n))) + " kMGTPEZY"[letter].trim();
});

/** Microseconds of seconds: three digits, or all that are before the point. */
const microseconds = known(seconds => {
	const us = 1e6 * seconds;
	return us < 0.1 ? us.toFixed(3) : us < 999.5 ? us.toPrecision(3) : whole(Math.round(us));
});

// ---- packed numbers ----

const PLANES = { f24: 3, d32: 4, i32: 4 };

/** The numbers of a packed array; of nothing, null. */
async function unpack(packed) {
	if (packed == null) return null;
	if (packed.list) return Float64Array.from(packed.list);
	const kind = Object.keys(PLANES).find(name => name in packed);
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
	const all = Object.entries(fields).map(async ([name, packed]) => [name, await unpack(packed)]);
	return Object.fromEntries(await Promise.all(all));
}

function appended(old, more) {
	const both = new Float64Array(old.length + more.length);
	both.set(old);
	both.set(more, old.length);
	return both;
}

// ---- colours of numbers ----

const VIRIDIS = ["440154", "472c7a", "3b518b", "2c718e", "21908d", "27ad81", "5cc863", "aadc32", "fde725"];

/** 256 colours from dark to bright as ImageData has them, red first, on little-endian machines. */
const RAMP = Uint32Array.from({ length: 256 }, (_, i) => {
	const at = (i / 255) * (VIRIDIS.length - 1),
		first = Math.min(Math.floor(at), VIRIDIS.length - 2);
	const [r, g, b] = [0, 2, 4].map(k => {
		const [low, high] = [first, first + 1].map(stop => parseInt(VIRIDIS[stop].slice(k, k + 2), 16));
		return Math.round(low + (at - first) * (high - low));
	});
	return (255 << 24) | (b << 16) | (g << 8) | r;
});

const pixelOf = hex => parseInt(`ff${hex.slice(5)}${hex.slice(3, 5)}${hex.slice(1, 3)}`, 16);

/** What the map shows, in the order of the keys that choose it. */
const QUANTITIES = [
	{ name: "grad_norm", label: "|dW|", about: "norm of the gradient of each layer's weights", log: true, text: power },
	{ name: "update_ratio", label: "step/W", about: "norm of the step over that of the weights", log: true, text: power },
	{ name: "frozen", label: "frozen", about: "share of weights whose bits the step leaves as they are", text: percent },
	{ name: "saturated", label: "sat.", about: "share of activations with under 1% of the largest slope", text: percent },
	{ name: "dead", label: "dead", about: "share of dead units: no slope on any row of the batch", text: percent },
];

/** The numbers of a quantity's first, middle and last colour; and the place of any. */
function scaleOf(quantity, values) {
	const [low, high] = limits(values);
	const place = x => (high > low ? Math.log(x / low) / Math.log(high / low) : 0.5);
	if (quantity.log) return { numbers: [low, Math.sqrt(low * high), high], place };
	const round = [0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1].find(most => high <= most) ?? 1;
	return { numbers: [0, round / 2, round], place: x => x / round };
}

/** The colour of each value; grey for zeros and for what is not finite. */
function shades(values, scale) {
	const grey = pixelOf(colour("--nothing"));
	return Uint32Array.from(values, x => (positive(x) ? RAMP[Math.round(255 * clamp(scale.place(x), 0, 1))] : grey));
}

// ---- what uPlot draws ----

// Room at the left and right of both plots, so that their steps are above each other.
const LEFT = 54,
	RIGHT = 46;
// From one number of an axis to the next.
const ROUND = Array.from({ length: 33 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

/** An axis of uPlot; its colours are asked for at each drawing, as light and dark may change. */
function axis(scale, side, size, more = {}) {
	const line = { stroke: () => colour("--line"), width: 1 };
	const ticks = { ...line, size: 5 },
		stroke = () => colour("--muted");
	const values = (_, splits) => splits.map(x => (x == null ? "" : scaled(x)));
	return { scale, side, size, font: "12px system-ui", stroke, grid: line, ticks, values, gap: 4, ...more };
}

/** Options that both plots share: steps from left to right, and a cursor that only the slider moves. */
function plotOptions(width, height, history, axes, more) {
	const unheard = ["mousedown", "mouseup", "mousemove", "mouseenter", "mouseleave", "dblclick"];
	const bind = Object.fromEntries(unheard.map(name => [name, () => null]));
	const steps = axis("x", 2, 30, { space: 60, incrs: ROUND });
	return {
		width,
		height,
		legend: { show: false },
		cursor: { y: false, drag: { x: false, y: false }, bind },
		...more,
		axes: [steps, ...axes],
		scales: { x: { time: false, range: () => [0, history.end] }, ...more.scales },
	};
}

/** The lines above the map: the loss of batches, and what each epoch came to. */
const LINES = [
	{ name: "loss", label: "loss of a batch", scale: "loss", colour: "--ink" },
	{ name: "val_loss", label: "validation loss", scale: "loss", colour: "--ink", dash: [5, 3] },
	{ name: "accuracy", label: "accuracy (right)", scale: "share", colour: "--blue" },
	{ name: "val_accuracy", label: "validation accuracy (right)", scale: "share", colour: "--blue", dash: [5, 3] },
];

const linesOf = epochs => LINES.filter(line => line.name === "loss" || epochs.some(epoch => epoch[line.name] != null));

/** Loss and accuracies over the steps, as uPlot wants them. */
function lossData(history) {
	const { epochs, epoch_steps: ends } = history.part;
	const own = linesOf(epochs)
		.slice(1)
		.map(({ name }) => epochs.map(epoch => epoch[name] ?? null));
	const loss = [[...history.lossSteps], Array.from(history.loss, x => (isFinite(x) ? x : null))];
	return own.length ? uPlot.join([loss, [ends, ...own]]) : loss;
}

/** Whether a loss is drawn by powers of ten. */
function isSpread(loss) {
	const [low, high] = limits(loss);
	return high > 20 * low && loss.every(x => !(x <= 0));
}

function lossPlot(target, width, history) {
	const epochs = history.part.epochs;
	const spread = isSpread(history.loss);
	const series = linesOf(epochs).map(({ name, scale, dash, colour: own }) => {
		const stroke = () => colour(own),
			isLoss = name === "loss";
		const points = { show: !isLoss && epochs.length < 40, size: 5, fill: stroke, stroke };
		return { scale, dash, stroke, points, width: isLoss ? 1 : 1.75, spanGaps: true };
	});
	const shares = series.some(({ scale }) => scale === "share");
	const logs = { splits: u => logTicks(u.scales.loss.min, u.scales.loss.max), filter: (_, all) => all };
	const axes = [
		axis("loss", 3, LEFT, { space: 28, ...(spread ? logs : {}) }),
		axis("share", 1, RIGHT, {
			show: shares,
			grid: { show: false },
			space: 28,
			values: (_, all) => all.map(x => `${Math.round(100 * x)}%`),
		}),
	];
	const fromZero = (_, a, b) => [Math.min(0, a ?? 0), (b ?? 1) * 1.05 || 1];
	const loss = spread ? { distr: 3 } : { range: fromZero };
	const scales = { loss, share: { range: () => [0, 1] } };
	const more = { scales, padding: [8, shares ? 0 : RIGHT, 0, 0], series: [{}, ...series] };
	const options = plotOptions(width, 170, history, axes, more);
	return new uPlot(options, lossData(history), target);
}

/** The map, layer x step: axes by uPlot, a colour a pixel. */
function mapPlot(target, width, height, history) {
	const n = history.n_layers;
	const every = ROUND.find(step => step >= n / 12) ?? n;
	const first = every < 3 ? 1 : 0;
	const layers = () => Array.from({ length: Math.floor((n - first) / every) + 1 }, (_, i) => first + i * every || 1);
	const axes = [axis("layer", 3, LEFT, { splits: layers, grid: { show: false }, values: (_, all) => all.map(whole) })];
	const options = plotOptions(width, height, history, axes, {
		scales: { layer: { range: () => [0.5, n + 0.5], dir: -1 } },
		padding: [8, RIGHT, 0, 0],
		series: [{}, { scale: "layer", paths: () => null, points: { show: false } }],
		hooks: { drawClear: [u => paint(u, history)] },
	});
	options.axes[0].grid = { show: false };
	return new uPlot(options, [[0], [1]], target);
}

/** A pixel has the colour of its layer in the nearest record, if that is no farther than records are apart. */
function paint(u, history) {
	const { left, top, width, height } = u.bbox,
		{ shades: colours, n_layers: n, end } = history;
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

// ---- the ledger ----

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
    others together. */
function gainAxis(fields) {
	const some = fields.flatMap(values => evenly(values.length, 2000).map(i => values[i]));
	const all = Float64Array.from(some.filter(positive)).sort();
	const at = share => all[Math.round(share * (all.length - 1))] ?? 1;
	const low = 2 ** Math.floor(Math.log2(Math.min(at(0.005), 0.7))),
		high = 2 ** Math.ceil(Math.log2(Math.max(at(0.995), 1.4)));
	return { low, high, x: gain => clamp((Math.log(gain / low) / Math.log(high / low)) * BARS, 0, BARS) };
}

/** Round numbers for a log axis, some five of them. */
function logTicks(low, high) {
	const decades = Math.log10(high / low);
	const first = Math.floor(Math.log10(low)),
		n = Math.ceil(decades) + 1;
	const every = Math.max(1, Math.ceil(decades / 5));
	const steps = decades < 2.2 ? [1, 2, 5] : [1];
	const found = Array.from({ length: n + 1 }, (_, i) => first + i).filter(e => e % every === 0);
	return found.flatMap(e => steps.map(step => +`${step}e${e}`)).filter(x => x >= low && x <= high);
}

/** A table with a row a layer, whose numbers change from step to step: `show(value)` asks value(field, layer). */
class Ledger {
	/** fields: the numbers of all steps by name, from which the axes are; band: null, or theory's by name and layer. */
	constructor(fields, n, band, name) {
		Object.assign(this, { n, band }, Ledger.axes(fields));
		this.rows = evenly(n, MOST_ROWS).map(layer => this.row(layer));
		const body = make("tbody", ...this.rows.map(row => row.element));
		this.table = make("table.ledger", this.head(), body);
		const about = "Each layer multiplies the signal on its way back by its gain: below 1 it fades, above 1 it grows.";
		const box = scrolling(`${name} Ledger, a row a layer`.trim(), this.table);
		this.element = make("div", make("p.quiet", about), this.key(), box, someOf(this.rows.length, n));
	}

	/** The factors that there are, the axis of gains and that of norms, in whole powers of two and ten. */
	static axes(fields) {
		const factors = FACTORS.filter(({ name }, i) => i < 2 || name in fields);
		const gains = [...factors, { name: "gain" }];
		const axis = gainAxis(gains.map(({ name }) => fields[name]));
		const [least, most] = limits(fields.grad_norm).map((x, i) => 10 ** (Math.floor(Math.log10(x)) + i));
		return { factors, gains, axis, least, most, bounds: [factors.length, axis.low, axis.high, least, most] };
	}

	head() {
		const { low, high, x } = this.axis;
		const ticks = logTicks(low, high).map(gain => [
			draw("line", { x1: x(gain), x2: x(gain), y1: 17, y2: ROW }),
			draw("text", { x: clamp(x(gain), 8, BARS - 8), y: 12 }, String(gain)),
		]);
		const scale = draw("svg.axis", { width: BARS, height: ROW, role: "img", "aria-label": "gain as bars" }, ticks);
		const bars = make("th.bars", { scope: "col" }, scale);
		const column = (label, about) => make("th", { scope: "col", title: about }, label);
		const gains = this.factors.map(({ label }, i) => column((i ? "× " : "") + label));
		const [norm, ratio, ...shares] = QUANTITIES.map(({ label, about }) => column(label, about));
		return make("thead", make("tr", column("layer"), norm, gains, column("= gain"), bars, ratio, shares));
	}

	key() {
		const factors = this.factors.map(({ label, colour: own }) => mark("block", label, own));
		const theory = this.band && [
			mark("dashes", "predicted by theory", "--muted"),
			this.band.predicted_low.some(positive) && mark("range", "its 95% band"),
		];
		return make("ul.key", factors, mark("diamond", "gain, their product"), theory);
	}

	/** One layer: its cells, and what is drawn in the cell of bars. */
	row(layer) {
		const cells = {};
		const cell = name => (cells[name] = make("td", { "data-field": name }));
		const height = this.factors.length > 2 ? 5 : 7;
		const bars = this.factors.map(({ colour: own }, i) =>
			draw("rect", { y: 4 + i * height, height, style: filled(own) }),
		);
		const gain = draw("path.gain");
		const one = draw("line", { x1: this.axis.x(1), x2: this.axis.x(1), y1: 0, y2: ROW });
		const theory = draw("g"),
			drawn = [theory, one, bars, gain];
		const picture =
			layer < this.n - 1
				? draw("svg", { width: BARS, height: ROW, "aria-hidden": "true" }, drawn)
				: make("span.quiet", "the signal starts here");
		const [norm, ratio, ...shares] = QUANTITIES.map(({ name }) => cell(name));
		const gains = this.gains.map(({ name }) => cell(name));
		const head = make("th", { scope: "row" }, whole(layer + 1));
		const element = make("tr", { "data-layer": layer + 1 }, head, norm, gains, make("td.bars", picture), ratio, shares);
		return { layer, cells, bars, gain, theory, element };
	}

	/** Theory's band, and a line at what it predicts. */
	drawTheory({ theory, layer }) {
		const of = name => this.band?.[`predicted_${name}`][layer],
			{ x } = this.axis;
		const [low, middle, high] = ["low", "gain", "high"].map(of);
		const band = { x: x(low), width: Math.max(x(high) - x(low), 1.5), y: 0, height: ROW };
		const line = { x1: x(middle), x2: x(middle), y1: 0, y2: ROW };
		const [area, mark] = [positive(low) && draw("rect.band", band), positive(middle) && draw("line.predicted", line)];
		theory.replaceChildren(area || "", mark || "");
	}

	show(value) {
		for (const row of this.rows) {
			for (const { name, text } of [...QUANTITIES, ...this.gains]) {
				const x = value(name, row.layer);
				row.cells[name].textContent = (text ?? digits)(x);
				row.cells[name].dataset.value = x == null || x !== x ? "" : String(x);
			}
			this.underline(row, value);
			this.drawTheory(row);
			this.drawGain(row, value);
		}
	}

	/** Norms and shares as lines below their numbers. */
	underline({ cells, layer }, value) {
		const norm = value("grad_norm", layer);
		const along = positive(norm) ? Math.log(norm / this.least) / Math.log(this.most / this.least) : 0;
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
			const to = x(product);
			bar.setAttribute("x", Math.min(from, to) || 0);
			bar.setAttribute("width", Math.max(Math.abs(to - from), 1) || 0);
		});
		const at = x(value("gain", layer));
		gain.setAttribute("d", at === at ? `M${at - 4} 11L${at} 7L${at + 4} 11L${at} 15Z` : "");
	}
}

// ---- reports ----

/** The verdict in its words, and what was tried against it. */
function verdictBox(report, id) {
	const words = make("p", make("strong", report.verdict), `: ${report.explanation}`);
	const tried = report.remedies.map(remedy => make("li", remedy));
	const remedies = tried.length > 0 && [
		make("p.quiet", "What was tried on a copy of the net, the best first:"),
		make("ul", tried),
	];
	return make("div.verdict", { "data-verdict": report.verdict, id }, words, remedies);
}

/** A part of the page. */
class View {
	constructor(part, index, page) {
		this.element = make("section", { "data-part": index });
		this.page = page;
	}

	/** A heading within it. */
	label(text) {
		return make(this.part.name ? "h3" : "h2", text);
	}
}

/** A report on one batch: its verdict, and its ledger. */
class Report extends View {
	async update(part) {
		const fields = await unpackAll(part.fields);
		const ledger = new Ledger(fields, part.layers, part.band, part.name);
		ledger.show((name, layer) => fields[name][layer]);
		this.element.replaceChildren(...heading(part), verdictBox(part), ledger.element);
	}
}

// ---- histories ----

/** The numbers of a history's part, or of a message with more of them. */
async function numbersOf({ steps, loss, loss_steps: lossSteps, fields }) {
	const [one, all] = await Promise.all([unpackAll({ steps, loss, lossSteps }), unpackAll(fields)]);
	return { ...one, fields: all };
}

/** A training: loss, map, slider, and the ledger of the step at the slider. */
class History extends View {
	constructor(part, index, page) {
		super(part, index, page);
		this.first = page.views.every(view => !(view instanceof History));
		this.quantity = QUANTITIES[0];
	}

	/** Take this data, if it is other; the slider stays at its step, or at the end if it was there. */
	async update(part) {
		const told = JSON.stringify(part);
		if (told === this.told) return;
		const step = this.atEnd() ? Infinity : this.steps[this.position];
		Object.assign(this, { told, part, n_layers: part.layers }, await numbersOf(part));
		await this.build(nearest(this.steps, step));
	}

	/** Take more records, and perhaps a new verdict. */
	async append(message) {
		const follow = this.atEnd(),
			more = await numbersOf(message);
		this.told = "";
		for (const name of ["steps", "loss", "lossSteps"]) this[name] = appended(this[name], more[name]);
		for (const [name, values] of Object.entries(more.fields)) this.fields[name] = appended(this.fields[name], values);
		for (const name of ["epochs", "epoch_steps", "n_steps", "about", "report", "band"]) {
			this.part[name] = message[name] ?? this.part[name];
		}
		if (follow) this.position = this.steps.length - 1;
		if (this.shape() === this.built) this.page.later(this);
		else await this.build(this.position);
	}

	/** What the plots and the ledger are built for; where it changes, they are built anew. */
	shape() {
		const gains = this.steps.length ? Ledger.axes(this.fields).bounds : "";
		return [linesOf(this.part.epochs).length, isSpread(this.loss), !this.part.band, gains].join();
	}

	atEnd() {
		return !this.steps?.length || this.position === this.steps.length - 1;
	}

	/** Where the axis of steps ends. */
	get end() {
		return Math.max(this.part.n_steps, (this.steps.at(-1) ?? 0) + 1);
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

	/** All elements, with the slider at record k. */
	async build(k) {
		const { part } = this,
			held = this.slider && this.slider === this.slider.getRootNode().activeElement;
		this.built = this.shape();
		this.about = make("div.quiet");
		this.verdict = make("div");
		this.readout = make("p.now");
		this.sentence = make("p.quiet");
		this.ledgerHeading = this.label("");
		const plots = make("div.plots");
		const children = [...heading(part), this.verdict, this.about, plots];
		if (this.steps.length) {
			this.ledger = new Ledger(this.fields, this.n_layers, part.band, part.name);
			children.push(this.ledgerHeading, this.sentence, this.ledger.element);
		}
		this.element.replaceChildren(...children);
		this.buildPlots(plots);
		this.position = k;
		await null; // uPlot knows its places only when this turn is over
		this.refresh();
		if (held) this.slider.focus();
	}

	buildPlots(plots) {
		const lines = linesOf(this.part.epochs);
		const line = ({ label: text, colour: own, dash }) => mark(dash ? "dashes" : "line", text, own);
		const [above, below] = [make("div.plot"), make("div.plot.map")];
		const title = this.label("Loss" + (lines.some(({ scale }) => scale === "share") ? " and accuracy" : ""));
		plots.append(title, make("ul.key", lines.map(line)), above);
		this.width = this.page.width();
		this.plots = [lossPlot(above, this.width, this)];
		if (this.steps.length) {
			this.key = make("div.colours");
			this.tip = make("div.tip", { hidden: true });
			plots.append(this.label("Layer by step"), this.chooser(), this.key, below, this.scrubber(), this.readout);
			const height = clamp(20 * this.n_layers, 120, 400) + 38;
			this.plots.push(mapPlot(below, this.width, height, this));
			this.plots[1].over.append(this.tip);
			this.colourMap();
			for (const plot of this.plots) this.follow(plot);
		}
	}

	/** Buttons for what the map shows. */
	chooser() {
		this.buttons = QUANTITIES.map((quantity, i) => {
			const key = make("kbd", { "aria-hidden": "true" }, String(i + 1));
			return button({ "data-quantity": quantity.name }, () => this.choose(quantity), key, quantity.label);
		});
		const keys = make("span.quiet", "Keys: 1 to 5, ← and →.");
		return make("div.choice", { role: "group", "aria-label": "What the map shows" }, this.buttons, keys);
	}

	scrubber() {
		this.slider = make("input.slider", { type: "range", id: this.first && "slider", min: 0, "aria-label": "Step" });
		this.slider.addEventListener("input", () => this.show(+this.slider.value));
		return this.slider;
	}

	/** A click or a drag on a plot sets the slider; above the map, the pointer shows the number. */
	follow(plot) {
		const { over } = plot;
		const take = event => {
			const box = over.getBoundingClientRect();
			const step = ((event.clientX - box.left) / box.width) * this.end;
			if (event.buttons & 1) this.show(nearest(this.steps, step));
			if (plot === this.plots[1]) this.point(step, event.clientY - box.top, box);
		};
		over.addEventListener("pointerdown", event => {
			event.preventDefault(); // which would take the focus from the slider again
			this.slider.focus({ preventScroll: true });
			over.setPointerCapture(event.pointerId);
			take(event);
		});
		over.addEventListener("pointermove", take);
		over.addEventListener("pointerleave", () => (this.tip.hidden = true));
	}

	/** The number at a place of the map. */
	point(step, y, box) {
		const k = this.recordAt(step),
			layer = clamp(Math.floor((y / box.height) * this.n_layers), 0, this.n_layers - 1);
		this.tip.hidden = k < 0;
		if (k < 0) return;
		const { name, label, text } = this.quantity;
		const value = text(this.value(name, k, layer));
		this.tip.textContent = `step ${whole(this.steps[k])}, layer ${whole(layer + 1)}: ${label} ${value}`;
		const left = (step / this.end) * box.width - this.tip.offsetWidth / 2;
		this.tip.style.left = `${clamp(left, 0, Math.max(box.width - this.tip.offsetWidth, 0))}px`;
		this.tip.style.top = `${y < 44 ? y + 18 : y - 38}px`;
	}

	/** Let the map show this quantity. */
	choose(quantity) {
		this.quantity = quantity;
		if (!this.steps.length) return;
		this.colourMap();
		this.plots[1].redraw();
	}

	/** Colours of all numbers, their key, and the map in words. */
	colourMap() {
		const { name, label, about, text, log } = this.quantity;
		for (const each of this.buttons) set(each, { "aria-pressed": String(each.dataset.quantity === name) });
		const values = this.fields[name],
			scale = scaleOf(this.quantity, values);
		this.shades = shades(values, scale);
		const numbers = scale.numbers.map(x => make("span", text(x)));
		const style = `background: linear-gradient(to right, ${VIRIDIS.map(stop => `#${stop}`)})`;
		const ramp = make("div", make("span.shade", { style }), make("div.numbers", numbers));
		const none = make("ul.key", mark("block", log ? "exactly 0, or not finite" : "none", "--nothing"));
		const some = values.some(positive),
			[least, most] = limits(values);
		const words = `${label}: ${about}${log ? ", by its logarithm" : ""}. Layer 1 is next to the input.`;
		this.key.replaceChildren(make("p", words), some ? ramp : "", values.every(positive) ? "" : none);
		const range = some ? `${log ? `from ${text(least)} ` : "up "}to ${text(most)}` : "none above 0";
		const size = `layers: ${whole(this.n_layers)}; inspected steps: ${whole(this.steps.length)}`;
		describe(this.plots[1], `Map of ${about}; ${size}; ${range}.`);
	}

	/** Put the slider at a record, and show its step. */
	show(k) {
		if (!this.steps.length) return;
		this.position = k;
		const step = this.steps[k],
			{ epochs, epoch_steps: ends, n_steps } = this.part;
		const loss = this.loss[nearest(this.lossSteps, step)];
		const past = ends.findLastIndex(end => end <= step + 1);
		const accuracy = epochs[past]?.val_accuracy ?? epochs[past]?.accuracy;
		const parts = [
			`step ${whole(step)} of ${whole(n_steps)}`,
			loss === loss && `loss ${digits(loss)}`,
			accuracy != null && `accuracy ${percent(accuracy)} after epoch ${ends[past] / ends[0]}`,
		];
		const words = parts.filter(Boolean).join(", ");
		this.readout.textContent = capital(words);
		set(this.slider, { max: this.steps.length - 1, "aria-valuetext": words });
		this.slider.value = k;
		this.ledgerHeading.textContent = `Ledger of step ${whole(step)}`;
		this.sentence.textContent = this.journey(k);
		this.ledger.table.dataset.step = step;
		this.ledger.show((name, layer) => this.value(name, k, layer));
		for (const plot of this.plots) plot.setCursor({ left: plot.valToPos(step, "x"), top: 0 });
		const norms = Array.from({ length: this.n_layers }, (_, layer) => this.value("grad_norm", k, layer));
		for (const view of this.page.views) view.showNorms?.(norms);
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
		const { about, report } = this.part;
		this.about.replaceChildren(...paragraphs(about));
		this.verdict.replaceChildren(...(report ? [verdictBox(report, this.first && "verdict")] : []));
		this.plots[0].setData(lossData(this));
		this.describeLoss();
		this.choose(this.quantity);
		if (this.ledger) this.ledger.band = this.part.band;
		this.show(this.position);
	}

	describeLoss() {
		const last = this.loss.length - 1,
			{ epochs } = this.part;
		const all = epochs.map(epoch => epoch.val_accuracy ?? epoch.accuracy).filter(x => x != null);
		const more = all.length ? `; accuracy from ${percent(all[0])} to ${percent(all.at(-1))}` : "";
		const end = `${digits(this.loss[last])} at step ${whole(this.lossSteps[last] ?? 0)}`;
		describe(this.plots[0], `Loss of the batches: ${digits(this.loss[0])} at first, ${end}${more}.`);
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
	set(plot.ctx.canvas, { role: "img", "aria-label": words });
}

// ---- costs ----

/** The colour of each phase's mark, and its path, of radius 1. */
const PHASES = {
	forward: ["--blue", "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0-1 0Z"],
	dX: ["--orange", "M-1-1H1V1H-1Z"],
	"dW + update": ["--red", "M0-1.3L1.3 0L0 1.3L-1.3 0Z"],
	activation: ["--green", "M0-1.2L1.2 1H-1.2Z"],
	loss: ["--sky", "M0 1.2L1.2-1H-1.2Z"],
	normalization: ["--pink", "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z"],
};
const DASHES = ["", "7 4", "7 3 2 3", "2 3"];

/** A step's cost: its roofline, and a row a phase of each layer. */
class Cost extends View {
	async update(part) {
		this.part = part;
		this.width = null;
		this.roofline = make("figure");
		this.element.replaceChildren(
			...heading(part),
			...paragraphs(part.about, "quiet"),
			this.label("Roofline"),
			this.roofline,
			this.label("Where the time goes"),
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

/** The rows that are on the roofline: with operations, and a thousandth of the longest row's time. */
function marksOf(part) {
	return part.rows
		.filter(row => row.flops && row.of_step > part.longest / 1000 && row.phase in PHASES)
		.map(row => ({ ...row, x: row.intensity, y: row.flops / (row.measured ?? row.predicted) / 1e9 }));
}

/** Operations a second over operations a byte, by powers of ten: what memory and the peak allow, and each phase. */
function roofline(part, width) {
	const height = clamp(0.55 * width, 240, 420),
		marks = marksOf(part),
		peak = part.peak / 1e9;
	const [xs, ys] = [limits(marks.map(mark => mark.x)), limits(marks.map(mark => mark.y))];
	const [x0, x1, y0, y1] = [Math.min(xs[0] / 2, 0.1), Math.max(xs[1] * 4, 300), ys[0] / 2, 2 * Math.max(peak, ys[1])];
	const x = v => LEFT + (Math.log(v / x0) / Math.log(x1 / x0)) * (width - LEFT - 12);
	const y = v => height - 46 - (Math.log(v / y0) / Math.log(y1 / y0)) * (height - 54);
	const roofs = Object.values(part.roofs).map((rate, i) => {
		const slope = rate / 1e9,
			from = Math.max(x0, y0 / slope);
		const ends = { x1: x(from), y1: y(from * slope), x2: x(peak / slope), y2: y(peak) };
		return draw("line.roof", { ...ends, "stroke-dasharray": DASHES[i % 4] });
	});
	const nearest = peak / Math.max(...Object.values(part.roofs).map(rate => rate / 1e9));
	const top = draw("line.peak", { x1: x(Math.max(nearest, x0)), y1: y(peak), x2: x(x1), y2: y(peak) });
	const range = `from ${digits(ys[0])} to ${digits(ys[1])} GFLOP/s, under a peak of ${digits(peak)} GFLOP/s`;
	const words = `Roofline: operations a second of phases over operations a byte, ${range}.`;
	const turned = { transform: `translate(12 ${height / 2 - 20}) rotate(-90)` };
	const names = [
		draw("text", { x: (LEFT + width) / 2, y: height - 6 }, "FLOP / byte"),
		draw("text", turned, `GFLOP/s, ${part.measured ? "measured" : "predicted"}`),
	];
	const axes = [gridOf(x0, x1, x, height, false), gridOf(y0, y1, y, width, true), names];
	const drawn = [axes, roofs, top, marks.map(mark => markOf(mark, x, y)), layersOf(marks, x, y)];
	return draw("svg.roofline", { width, height, role: "img", "aria-label": words }, drawn);
}

/** One axis of the roofline. */
function gridOf(low, high, place, length, across) {
	return logTicks(low, high).flatMap(value => {
		const at = place(value);
		const line = across ? { x1: LEFT, x2: length - 12, y1: at, y2: at } : { x1: at, x2: at, y1: 8, y2: length - 46 };
		const text = across ? { x: LEFT - 6, y: at + 4, style: "text-anchor: end" } : { x: at, y: length - 28 };
		return [draw("line.grid", line), draw("text", text, scaled(value))];
	});
}

const radiusOf = mark => 3.5 + 9 * Math.sqrt(mark.of_step);

function markOf(mark, x, y) {
	const [own, d] = PHASES[mark.phase];
	const transform = `translate(${x(mark.x)} ${y(mark.y)}) scale(${radiusOf(mark)})`;
	return draw("path.phase", { d, transform, style: filled(own) });
}

/** Below the marks, their layers; one text for those that are near each other. */
function layersOf(marks, x, y) {
	const free = new Set([...marks].sort((a, b) => b.of_step - a.of_step));
	const texts = [];
	for (const mark of free) {
		const isNear = other => Math.abs(x(other.x) - x(mark.x)) < 26 && Math.abs(y(other.y) - y(mark.y)) < 22;
		const near = [...free].filter(isNear);
		near.forEach(other => free.delete(other));
		const [first, last] = [Math.min, Math.max].map(of => of(...near.map(({ layer }) => layer)));
		const below = Math.max(...near.map(other => y(other.y) + radiusOf(other))) + 13;
		const text = first === last ? `${first}` : `${first}–${last}`;
		texts.push(draw("text", { x: x(mark.x), y: below }, text));
	}
	return texts;
}

function roofKey(part) {
	const shown = new Set(marksOf(part).map(({ phase }) => phase));
	const item = (picture, text) =>
		make("li", draw("svg", { width: 26, height: 14, "aria-hidden": "true" }, picture), text);
	const phases = Object.entries(PHASES).filter(([phase]) => shown.has(phase));
	const marks = phases.map(([phase, [own, d]]) =>
		item(draw("path", { d, transform: "translate(13 7) scale(5)", style: filled(own) }), phase),
	);
	const line = (kind, dash) => draw(`line.${kind}`, { x1: 0, x2: 26, y1: 7, y2: 7, "stroke-dasharray": dash });
	const roofs = Object.entries(part.roofs).map(([name, rate], i) =>
		item(line("roof", DASHES[i % 4]), `${name}, ${digits(rate / 1e9)} GB/s`),
	);
	const peak = item(line("peak"), `multiply-adds, ${digits(part.peak / 1e9)} GFLOP/s`);
	const note = make("p.quiet", "Lines: what memory and arithmetic allow. Numbers: layers; sizes: shares of the time.");
	return make("figcaption", make("ul.key", marks), make("ul.key", roofs, peak), note);
}

/** A row a phase, layer by layer. */
function costTable(part) {
	const layers = [...new Set(part.rows.map(({ layer }) => layer))].sort((a, b) => a - b);
	const columns = costColumns(part);
	const head = ["layer", "phase", ...columns.map(([name]) => name)].map(columnHead);
	const bodies = layers.map(layer => {
		const rows = part.rows.filter(row => row.layer === layer);
		const size = layer > 0 && make("small", ` ${part.sizes[layer].join(" → ")}`);
		const name = make("th", { scope: "rowgroup", rowspan: rows.length }, layer ? `${layer}` : "batch", size);
		const cells = row => [make("th", { scope: "row" }, row.phase), costCells(columns, row, part.longest)];
		const lines = rows.map((row, i) => make("tr", i === 0 && name, cells(row)));
		return make("tbody", lines);
	});
	const table = make("table.cost", make("thead", make("tr", head)), bodies);
	return make("div", scrolling("Cost of a step, a row a phase", table), someOf(layers.length - 1, part.layers));
}

/** What is above each column, its field, and the text of a number. */
function costColumns(part) {
	return [
		["FLOPs", "flops", scaled],
		["least bytes", "bytes", scaled],
		["FLOP/byte", "intensity", x => scaled(x, 2)],
		["predicted µs", "predicted", microseconds],
		part.measured && ["measured µs", "measured", microseconds],
		part.measured && ["of limit", "share", percent],
		["bound by", "bound", String],
		["share of the step", "of_step", percent],
	].filter(Boolean);
}

function costCells(columns, row, longest) {
	return columns.map(([, name, text]) => {
		const value = row[name];
		const share = name === "of_step" && `--share: ${value / longest}`;
		const data = { "data-field": name, "data-value": typeof value === "number" && value, style: share };
		return make("td", data, value == null ? NONE : text(value));
	});
}

// ---- texts, tables, pictures ----

const heading = ({ name, heading: own }) => (name || own ? [make("h2", name || own)] : []);

/** What only stands there. */
class Still extends View {
	async update(part) {
		const show = { table: stillTable, picture: ({ src, alt }) => [make("img", { src, alt })] }[part.kind];
		this.element.replaceChildren(...heading(part), ...(show ? show(part) : paragraphs(part.paragraphs)));
	}
}

function stillTable(part) {
	const cell = (text, i) => make(i ? "td" : "th", { scope: i ? null : "row" }, text);
	// A row of one cell stands above those that follow.
	const cells = row => (row.length > 1 ? row.map(cell) : make("th", { colspan: part.headings.length }, row));
	const head = make("thead", make("tr", part.headings.map(columnHead)));
	const rows = part.rows.map(row => make("tr", cells(row)));
	const table = make("table", head, make("tbody", rows));
	return [scrolling(part.heading || "Table", table), ...paragraphs(part.notes ? [part.notes] : [], "quiet")];
}

// ---- play ----

/** The controls of a training, and points in the plane with what the net makes of them. */
class Play extends View {
	async update(part) {
		this.part = part;
		if (!this.inputs) this.build();
		this.points = part.points && (await unpackAll(part.points));
		this.set(part.settings, part.hash);
		this.paint();
	}

	build() {
		const { presets, controls } = this.part;
		this.claim = make("p.claim");
		const group = (label, ...buttons) => make("div.choice", { role: "group", "aria-label": label }, buttons);
		this.presets = presets.map(({ name, claim, label, settings }) =>
			button({ "data-preset": name, title: claim }, () => this.page.command("set", { settings }), label),
		);
		const orders = ["start", "pause", "step", "rewind"].map(name =>
			button({ "data-do": name }, () => this.page.command(name), name),
		);
		const share = button({ "data-do": "share" }, () => this.share(share), "share");
		this.inputs = Object.fromEntries(controls.map(control => [control.name, this.control(control)]));
		this.canvas = make("canvas", { width: 300, height: 300, role: "img", hidden: true });
		const labels = Object.values(this.inputs).map(({ label }) => label);
		this.norms = make("div.norms");
		const play = make("div.play", make("div.controls", labels, this.norms), this.canvas);
		const training = group("Training", orders, share);
		this.element.replaceChildren(...heading(this.part), group("Presets", this.presets), this.claim, play, training);
	}

	/** A label, its input, and for a range the number. */
	control({ name, label, type, min, max, step, options, help }) {
		const text = { "data-control": name, title: help },
			number = make("output");
		const choices = options?.map(option => make("option", String(option)));
		const input = options ? make("select", text, choices) : make("input", { ...text, type, min, max, step });
		const value = () => (options ? options[input.selectedIndex] : +input.value);
		input.addEventListener("input", () => (number.textContent = options ? "" : input.value));
		input.addEventListener("change", () => this.page.command("set", { settings: { [name]: value() } }));
		return { input, number, options, label: make("label", make("span", label, number), input) };
	}

	/** Let the controls show these settings, or those that were, and the address the whole state. */
	set(settings = this.part.settings, hash) {
		Object.assign(this.part.settings, settings);
		for (const [name, { input, number, options }] of Object.entries(this.inputs)) {
			if (!(name in settings) || (input === document.activeElement && input.matches(":active"))) continue;
			if (options) input.selectedIndex = options.indexOf(settings[name]);
			else number.textContent = input.value = settings[name];
		}
		if (hash && location.hash !== `#${hash}`) history.replaceState(null, "", `#${hash}`);
	}

	share(element) {
		const say = words => () => (element.textContent = words);
		navigator.clipboard.writeText(location.href).then(say("address copied"), say("see the address"));
	}

	state({ running, boundary, preset, hash }) {
		for (const name of ["start", "pause"])
			this.element.querySelector(`[data-do=${name}]`).disabled = (name === "start") === running;
		for (const each of this.presets) set(each, { "aria-pressed": String(each.dataset.preset === preset) });
		this.claim.textContent = this.part.presets.find(({ name }) => name === preset)?.claim ?? "";
		this.set({}, hash);
		this.boundary = boundary;
		this.paint();
	}

	/** The gradient of each layer at the slider, as bars from 1e-7 to 100, powers of ten as high as each other. */
	showNorms(norms) {
		const n = norms.length;
		const words = `|dW| of layers 1 to ${n}, log scale: ${digits(norms[0])} to ${digits(norms[n - 1])}`;
		const height = x => clamp(Math.log10(x) + 7, 0.1, 9) || 0;
		const bars = norms.map((norm, x) => draw("rect", { x, y: 9 - height(norm), width: 0.8, height: 9 }));
		const about = { viewBox: `0 0 ${n} 9`, preserveAspectRatio: "none", "aria-hidden": "true" };
		this.norms.replaceChildren(make("span", words), draw("svg", about, bars));
	}

	/** What the net makes of each place, blue or orange, and the points. boundary: a square of shares of the second class,
      the lowest row first; low, high: of both axes. */
	async paint() {
		const { canvas, points, boundary } = this;
		canvas.hidden = !points;
		if (!points) return;
		const pen = canvas.getContext("2d"),
			size = canvas.width,
			both = [points.x, points.y];
		const { low = both.map(all => Math.min(...all)), high = both.map(all => Math.max(...all)) } = boundary ?? {};
		const [blue, orange] = [colour("--blue"), colour("--orange")];
		const values = boundary && (await unpack(boundary.packed));
		pen.clearRect(0, 0, size, size);
		if (values) pen.drawImage(await surface(values, boundary.packed.shape[0], blue, orange), 0, 0, size, size);
		pen.strokeStyle = colour("--paper");
		const at = (x, axis) => ((x - low[axis]) / (high[axis] - low[axis])) * size;
		points.x.forEach((x, i) => {
			pen.beginPath();
			pen.arc(at(x, 0), size - at(points.y[i], 1), 3, 0, 7);
			pen.fillStyle = points.label[i] ? orange : blue;
			pen.fill();
			pen.stroke();
		});
		set(canvas, { "aria-label": `${points.x.length} points of two classes, and what the net makes of the plane.` });
	}
}

/** A picture of n x n shares, the stronger in colour the surer. */
function surface(values, n, blue, orange) {
	const image = new ImageData(n, n),
		pixels = new Uint32Array(image.data.buffer);
	values.forEach((value, i) => {
		const own = pixelOf(value < 0.5 ? blue : orange) & 0xffffff;
		pixels[(n - 1 - Math.floor(i / n)) * n + (i % n)] = own | ((190 * Math.abs(2 * value - 1)) << 24);
	});
	return createImageBitmap(image);
}

// ---- the page ----

const VIEWS = { history: History, report: Report, cost: Cost, play: Play, text: Still, table: Still, picture: Still };

class Page {
	/** In the element root; keys are heard where they are pressed within that. */
	constructor(root, keys = root) {
		this.root = themed = root;
		this.views = [];
		this.hash = location.hash; // as asked for
		this.waiting = new Set();
		this.queue = this.asked = Promise.resolve();
		this.status = make("div.state");
		this.problem = make("p.problem", { role: "alert" });
		this.problems = {};
		new ResizeObserver(() => this.views.forEach(view => view.resize?.(this.width()))).observe(root);
		const dark = matchMedia("screen and (prefers-color-scheme: dark)");
		dark.addEventListener("change", () => this.views.forEach(view => view.refresh?.()));
		keys.addEventListener("keydown", event => this.press(event));
	}

	width() {
		const { paddingLeft, paddingRight } = getComputedStyle(this.root);
		return Math.max(Math.floor(this.root.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight)), 200);
	}

	/** Views of the same kinds stay. What stood there before does until all is made. */
	async show({ title, parts, about }) {
		const old = this.views,
			head = this.root.querySelector(".head");
		const same = head && old.length === parts.length && parts.every(({ kind }, i) => old[i] instanceof VIEWS[kind]);
		if (!same) {
			this.views = [];
			parts.forEach((part, index) => this.views.push(new VIEWS[part.kind](part, index, this)));
		}
		await Promise.all(this.views.map((view, index) => view.update(parts[index])));
		this.head = [make("h1", title), ...paragraphs(about, "lead"), this.status, this.problem];
		if (same) head.replaceChildren(...this.head);
		else this.root.replaceChildren(make("div.head", this.head), ...this.views.map(({ element }) => element));
	}

	/** Draw this view anew with the next frame, however often that is asked for until then. */
	later(view) {
		if (!this.waiting.size)
			requestAnimationFrame(() => {
				for (const each of this.waiting) each.refresh?.();
				this.waiting.clear();
			});
		this.waiting.add(view);
	}

	/** Take a server's events in turn. */
	listen(live) {
		this.live = live;
		const events = new EventSource(live.events);
		const take = what => (this.queue = this.queue.then(what).catch(reportError));
		events.onmessage = ({ data }) => take(() => this.receive(JSON.parse(data)));
		const end = "The program has ended, or is busy; this is what it sent last.";
		events.onerror = () => take(() => this.status.replaceChildren(end));
		const restore = hash => hash.length > 1 && this.command("set", { hash: hash.slice(1) });
		if (this.views.some(view => view instanceof Play)) restore(this.hash);
		addEventListener("hashchange", ({ newURL }) => restore(new URL(newURL).hash));
	}

	async receive(message) {
		const { type, page, part } = message;
		if (type === "page") await this.show(page);
		else if (type === "records") await this.views[part]?.append(message);
		else this.state(message);
	}

	/** Of the state, or of the last command. */
	tell(of, error) {
		this.problems[of] = error;
		this.problem.textContent = Object.values(this.problems).filter(Boolean).join(" ");
	}

	/** Whether it runs, how fast; its sentences. */
	state(message) {
		const { running, step, ms_per_step: ms, error, sentences } = message;
		const speed = running && ms != null && `${digits(ms)} ms a step`;
		const words = [running ? "running" : "not running", `step ${whole(step)}`, speed].filter(Boolean).join(", ");
		this.status.replaceChildren(make("p", capital(words)), ...paragraphs(sentences));
		this.tell("state", error);
		for (const view of this.views) view.state?.(message);
	}

	/** Ask the server, when all before is answered. */
	command(order, more = {}) {
		return (this.asked = this.asked.then(() => this.ask(order, more)));
	}

	async ask(order, more) {
		const body = JSON.stringify({ do: order, ...more });
		const headers = { "Content-Type": "application/json", "X-Vgfast": "1" };
		const answer = await fetch(this.live.commands, { method: "POST", headers, body }).then(
			found => found.json(),
			() => ({ error: "The program does not answer." }),
		);
		this.tell("command", answer.error);
		for (const view of this.views) view.set?.(answer.settings, answer.hash);
	}

	/** Keys 1 to 5 choose what the map shows, arrows move the slider, where nothing else wants them. */
	press(event) {
		const { target, key } = event;
		if (event.ctrlKey || event.metaKey || event.altKey || target.closest?.("input:not(.slider), select")) return;
		const histories = this.views.filter(view => view instanceof History);
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
	(el.shadowRoot ?? el.attachShadow({ mode: "open" })).replaceChildren(make("style", model.get("style")), root);
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
	const page = new Page(root, document),
		all = JSON.parse(data.textContent);
	await page.show(all);
	root.dataset.drawn = Math.round(performance.now() - begin); // milliseconds
	if (all.live) page.listen(all.live);
}

start();

export default { render };
