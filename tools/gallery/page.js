"use strict";
// The URL fragment holds the state of the page: #class=Car&sort=best&left=input. All texts are inserted as text, never as HTML.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data"), thumbnails = read("thumbnails");
const KINDS = { input: "Input", truth: "Truth", prediction: "Prediction", errors: "Errors" };
const kinds = data.scored ? Object.keys(KINDS) : ["input", "prediction"];
const defaults = { class: "", truth: "", predicted: "", sort: data.scored ? "worst" : "name", left: data.scored ? "truth" : "input",
  right: "prediction", blend: "", image: "", cut: "50" };
const sorts = data.scored ? { worst: "worst first", best: "best first", name: "by name" } : { name: "by name" };
const byName = new Map(data.images.map((image) => [image.name, image]));
const percent = (value) => (value === null || Number.isNaN(value) ? "n/a" : `${(100 * value).toFixed(1)} %`);

/** A new element: its properties, then its children (elements or strings). */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function readState() {
  const found = { ...defaults };
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (key in defaults) found[key] = value;
  if (!data.classes.includes(found.class)) found.class = "";
  if (!data.classes.includes(found.truth) || !data.columns.includes(found.predicted)) found.truth = found.predicted = "";
  if (!(found.sort in sorts)) found.sort = defaults.sort;
  for (const side of ["left", "right"]) if (!kinds.includes(found[side])) found[side] = defaults[side];
  if (!byName.has(found.image)) found.image = "";
  if (!(Number(found.cut) >= 0 && Number(found.cut) <= 100)) found.cut = defaults.cut;
  return found;
}

let state = readState();

function go(change) {
  const next = { ...state, ...change };
  const parameters = new URLSearchParams(Object.entries(next).filter(([key, value]) => value !== defaults[key]));
  location.hash = parameters.toString() || `sort=${defaults.sort}`; // "#" alone would jump to the top
}

// Scores of one image, from its counts.
function classIou(image, index) {
  const [tp, fp, fn] = [image.tp[index], image.fp[index], image.fn[index]];
  return tp + fp + fn > 0 ? tp / (tp + fp + fn) : NaN;
}

function pairPixels(image) {
  const truth = data.classes.indexOf(state.truth), predicted = data.columns.indexOf(state.predicted);
  const pair = image.pairs.find(([t, p]) => t === truth && p === predicted);
  return pair ? pair[2] : 0;
}

/** The images to show, in order; "worst first" sorts by ascending rank. */
function selectedImages() {
  const index = data.classes.indexOf(state.class);
  let images = data.images;
  let rank = (image) => image.miou ?? 2;
  if (state.truth) {
    images = images.filter((image) => pairPixels(image) > 0);
    rank = (image) => -pairPixels(image);
  } else if (index >= 0) {
    images = images.filter((image) => image.present.includes(index));
    if (data.scored) rank = (image) => classIou(image, index);
  }
  const sign = state.sort === "best" ? -1 : 1;
  const byText = (a, b) => (a.name < b.name ? -1 : 1);
  const order = state.sort === "name" ? byText : (a, b) => sign * (rank(a) - rank(b)) || byText(a, b);
  return [...images].sort(order);
}

// A stage: two stacks of layers, and a slider that moves the edge between them.
function source(image, kind, full) {
  if (full && image.full) return `${data.folder}/${encodeURIComponent(image.name + "_" + kind + data.suffixes[kind])}`;
  return thumbnails[image.index][kind];
}

function layers(image, kind, full) {
  const layer = (name, classes) => {
    const element = make("img", { className: classes, alt: `${KINDS[name]} of ${image.name}`, decoding: "async", draggable: false });
    element.onerror = () => {
      element.onerror = null;
      element.src = source(image, name, false);
      document.querySelectorAll(".missing-full").forEach((note) => { note.hidden = false; });
    };
    element.src = source(image, name, full);
    return element;
  };
  if (kind === "input") return [layer("input", "")];
  if (kind === "errors") return [layer("input", "faded"), layer("errors", "map")];
  return state.blend ? [layer("input", ""), layer(kind, "map blended")] : [layer(kind, "map")];
}

/** The texts of a stage, including those for screen readers. */
function describe(stage, image) {
  stage.querySelector(".tag.left").textContent = KINDS[state.left];
  stage.querySelector(".tag.right").textContent = KINDS[state.right];
  const range = stage.querySelector("input");
  range.setAttribute("aria-label", `${image.name}: wipe from ${KINDS[state.left]} to ${KINDS[state.right]}`);
  wipe(stage, range.value);
}

function fill(stage, image, full) {
  const [left, right] = stage.querySelectorAll(".half");
  left.replaceChildren(...layers(image, state.left, full));
  right.replaceChildren(...layers(image, state.right, full));
}

function wipe(stage, value) {
  stage.style.setProperty("--cut", `${value}%`);
  stage.querySelector("input").setAttribute("aria-valuetext", `${Math.round(value)} % ${KINDS[state.left]}, the rest ${KINDS[state.right]}`);
}

// Names of the classes under the pointer: the dark blues of four vehicles are hard to distinguish.
const nameOf = new Map(data.colors.map((color, index) => [color, data.classes[index]]));
let hovered = { image: null, maps: null };

/** Pixels of the maps of an image, from the embedded images: browsers do not give access to the pixels of local files. */
function mapsOf(image) {
  if (hovered.image !== image) {
    const maps = kinds.filter((kind) => kind === "truth" || kind === "prediction").map(async (kind) => {
      const embedded = make("img", { src: source(image, kind, false) });
      await embedded.decode();
      const { naturalWidth: width, naturalHeight: height } = embedded;
      const context = make("canvas", { width, height }).getContext("2d");
      context.drawImage(embedded, 0, 0);
      return { kind, width, height, colors: context.getImageData(0, 0, width, height).data };
    });
    hovered = { image, maps: Promise.all(maps) };
  }
  return hovered.maps;
}

async function nameUnder(stage, image, event) {
  const box = stage.getBoundingClientRect(), under = stage.querySelector(".under");
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const names = (await mapsOf(image)).map(({ kind, width, height, colors }) => {
    const place = (share, length) => Math.max(0, Math.min(length - 1, Math.floor(share * length)));
    const at = 4 * (place(y, height) * width + place(x, width));
    const color = "#" + [...colors.slice(at, at + 3)].map((value) => value.toString(16).padStart(2, "0")).join("");
    return `${KINDS[kind]}: ${nameOf.get(color) ?? data.columns.at(-1)}`;
  });
  under.textContent = names.join(" · ");
  under.hidden = !stage.matches(":hover");
}

function makeStage(image) {
  const range = make("input", { type: "range", min: "0", max: "100", step: "1" });
  range.value = state.cut;
  const stage = make("div", { className: "stage" }, make("div", { className: "half" }), make("div", { className: "half" }),
    make("div", { className: "handle" }), make("span", { className: "tag left" }), make("span", { className: "tag right" }),
    make("span", { className: "tag under", hidden: true }), range);
  stage.style.aspectRatio = `${image.size[1]} / ${image.size[0]}`;
  stage.addEventListener("pointermove", (event) => nameUnder(stage, image, event));
  stage.addEventListener("pointerleave", () => { stage.querySelector(".under").hidden = true; });
  range.addEventListener("input", () => wipe(stage, range.value));
  return stage;
}

function worstPairs(image) {
  const total = data.scored && image.tp.reduce((sum, tp, index) => sum + tp + image.fn[index], 0);
  return image.pairs.slice(0, 3).map(([truth, predicted, pixels]) =>
    `${data.classes[truth]} predicted as ${data.columns[predicted]} ${percent(pixels / total)}`).join(" · ");
}

function scoreText(image) {
  if (!data.scored) return "";
  if (state.class) return `IoU ${percent(classIou(image, data.classes.indexOf(state.class)))}`;
  if (state.truth) return `${pairPixels(image).toLocaleString("en")} pixels`;
  return `mIoU ${percent(image.miou)}`;
}

const cards = new Map();
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    fill(target, byName.get(target.dataset.name), false);
  }
}, { rootMargin: "600px" });

function card(image) {
  if (!cards.has(image.name)) {
    const stage = makeStage(image);
    stage.dataset.name = image.name;
    const enlarge = make("button", { type: "button", textContent: "Enlarge", onclick: () => go({ image: image.name, cut: stage.querySelector("input").value }) });
    enlarge.setAttribute("aria-label", `Enlarge ${image.name}`);
    stage.addEventListener("dblclick", () => enlarge.click());
    const text = make("div", { className: "text" }, make("h3", { textContent: image.name }), make("span", { className: "score" }),
      make("p", { textContent: worstPairs(image) }), enlarge);
    describe(stage, image);
    cards.set(image.name, make("article", { className: "card" }, stage, text));
  }
  return cards.get(image.name);
}

function showCards() {
  const images = selectedImages();
  const container = document.getElementById("cards"), wanted = images.map(card);
  // Moving a card removes its focus, so cards are only moved if their order changes.
  if (wanted.length !== container.children.length || wanted.some((element, place) => container.children[place] !== element)) container.replaceChildren(...wanted);
  for (const image of images) {
    const element = card(image);
    element.querySelector(".score").textContent = scoreText(image);
    const stage = element.querySelector(".stage");
    if (!stage.querySelector("img")) near.observe(stage);
  }
  const what = state.truth ? `with ${state.truth} predicted as ${state.predicted}`
    : state.class ? (data.scored ? `that contain ${state.class}, or where it is predicted` : `where ${state.class} is predicted`) : "";
  const part = data.images.length < data.num_images ? ` (the ${data.images.length} worst of ${data.num_images} are in this page)` : "";
  document.getElementById("number").textContent = `${images.length} of ${data.images.length} images ${what}${part}`;
  return images;
}

// The toolbar above the cards.
function choice(label, key, options) {
  const select = make("select", { onchange: () => go({ [key]: select.value, ...(key === "class" ? { truth: "", predicted: "" } : {}) }) },
    ...Object.entries(options).map(([value, text]) => make("option", { value, textContent: text })));
  select.value = state[key];
  select.dataset.key = key;
  return make("label", {}, label, select);
}

function makeToolbar() {
  const labels = Object.fromEntries(kinds.map((kind) => [kind, KINDS[kind]]));
  const classes = Object.fromEntries([["", "all"], ...data.classes.map((name, index) =>
    [name, data.scored ? `${name} (${percent(data.iou[index])})` : name])]);
  const blend = make("input", { type: "checkbox", onchange: () => go({ blend: blend.checked ? "1" : "" }) });
  blend.dataset.key = "blend";
  const clear = make("button", { type: "button", id: "clear", onclick: () => go({ class: "", truth: "", predicted: "" }) });
  const bar = document.getElementById("toolbar");
  bar.append(choice("Class", "class", classes));
  if (Object.keys(sorts).length > 1) bar.append(choice("Order", "sort", sorts));
  bar.append(choice("Left", "left", labels), choice("Right", "right", labels),
    make("label", { className: "check" }, blend, "classes over the image"), clear);
}

function showToolbar() {
  for (const control of document.querySelectorAll("#toolbar [data-key]")) {
    if (control.type === "checkbox") control.checked = Boolean(state.blend);
    else control.value = state[control.dataset.key];
  }
  const clear = document.getElementById("clear");
  clear.hidden = !state.truth && !state.class;
  clear.textContent = `${state.truth ? `${state.truth} predicted as ${state.predicted}` : state.class} \u00d7`;
  clear.setAttribute("aria-label", "Show all images");
}

// The viewer: one image, large.
const viewer = document.getElementById("viewer");
let actual = false;

function showViewer(images) {
  const image = byName.get(state.image);
  if (!image) {
    if (viewer.open) viewer.close();
    return;
  }
  const position = images.indexOf(image);
  const step = (label, key, by) => {
    const other = images[position + by];
    return make("button", { type: "button", textContent: `${label} (${key})`, disabled: !other, onclick: () => go({ image: other.name }) });
  };
  const stage = makeStage(image);
  const ratio = image.size[1] / image.size[0];
  const fit = () => { stage.style.width = actual ? `${image.size[1] / devicePixelRatio}px` : `min(100%, calc((96vh - 11rem) * ${ratio}))`; };
  const zoom = make("button", { type: "button", textContent: "Actual size (Z)", onclick: () => { actual = !actual; zoom.ariaPressed = String(actual); fit(); } });
  zoom.ariaPressed = String(actual);
  fit();
  const title = make("h2", { id: "viewer-title", textContent: image.name });
  if (data.scored) title.append(make("span", { className: "soft", textContent: `  mIoU ${percent(image.miou)}, ${percent(image.accuracy)} of the pixels correct` }));
  const note = make("p", { className: "note missing-full", hidden: true,
    textContent: `The images of full size are in the folder ${data.folder}, which is missing beside this page; these are the thumbnails.` });
  viewer.replaceChildren(
    make("div", { className: "viewer-head" }, title, step("Previous", "P", -1), step("Next", "N", 1), zoom,
      make("button", { type: "button", textContent: "Close (Esc)", onclick: () => viewer.close() })),
    note, make("div", { className: "viewer-stage" }, stage));
  if (data.scored) {
    const rows = image.present.map((index) => [index, classIou(image, index)]).sort((a, b) => a[1] - b[1]);
    viewer.append(make("ul", { className: "classes" }, ...rows.map(([index, iou]) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = data.colors[index];
      return make("li", {}, swatch, `${data.classes[index]} ${percent(iou)}`);
    })));
  }
  describe(stage, image);
  fill(stage, image, true);
  if (!viewer.open) viewer.showModal();
  stage.querySelector("input").focus();
}

viewer.addEventListener("close", () => {
  const name = state.image;
  if (!name) return;
  go({ image: "", cut: defaults.cut });
  cards.get(name)?.querySelector("button").focus();
});
viewer.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const button = { p: 0, n: 1, z: 2 }[event.key.toLowerCase()];
  if (button !== undefined) viewer.querySelectorAll(".viewer-head button")[button].click();
});

function show(before) {
  showToolbar();
  if (["left", "right", "blend"].some((key) => state[key] !== before[key])) {
    // Cards without images are filled when they are scrolled into view.
    for (const element of cards.values()) {
      const stage = element.querySelector(".stage"), image = byName.get(stage.dataset.name);
      describe(stage, image);
      if (stage.querySelector("img")) fill(stage, image, false);
    }
  }
  showViewer(showCards());
}

// A link to images sets the filter and keeps the other settings, such as the layers.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href*="="]');
  if (!link) return;
  event.preventDefault();
  go({ class: "", truth: "", predicted: "", image: "", ...Object.fromEntries(new URLSearchParams(link.getAttribute("href").slice(1))) });
  document.getElementById("images").scrollIntoView();
});
addEventListener("hashchange", () => {
  if (location.hash && !location.hash.includes("=")) return; // a section of the page
  const before = state;
  state = readState();
  show(before);
});
makeToolbar();
show(state);
if (location.hash.includes("=") && !state.image) document.getElementById("images").scrollIntoView();
