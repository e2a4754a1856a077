"use strict";
// No outside resources, no framework: one page that reads vhostd's own status once a second.
const $ = id => document.getElementById(id);
const history_ = { iops: [], bandwidth: [], latency: [] };
const HISTORY = 120;
let token = sessionStorage.getItem("token") || "";
let before = null, now = null, selected = null, methods = new Set(), lastEvent = 0, timer = 0, failures = 0;

if (location.hash.startsWith("#token=")) {
  token = decodeURIComponent(location.hash.slice(7));
  sessionStorage.setItem("token", token);
  // The token does not stay in the address bar, nor in the history.
  history.replaceState(null, "", location.pathname);
}

async function call(path, body) {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { "Authorization": "Bearer " + token, ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined, credentials: "omit", cache: "no-store",
  });
  const answer = await response.json();
  if (!response.ok) { const error = new Error(answer.error || response.statusText); error.status = response.status; throw error; }
  return answer;
}

const act = (method, params) => call("api/actions", { method, params });

/* ---- numbers ---- */
const format = value => value === null || value === undefined || Number.isNaN(value) ? "-"
  : value >= 1e6 ? (value / 1e6).toFixed(2) + " M" : value >= 1e4 ? (value / 1e3).toFixed(1) + " k" : value >= 100 || value === 0 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
const bytes = value => value >= 2 ** 40 ? (value / 2 ** 40).toFixed(1) + " TiB" : value >= 2 ** 30 ? (value / 2 ** 30).toFixed(1) + " GiB" : (value / 2 ** 20).toFixed(0) + " MiB";

function rates(old, part, seconds) {
  const delta = key => { const d = part[key] - (old ? old[key] : 0); return d < 0 ? part[key] : d; };
  if (!old || !(seconds > 0)) return { reads: 0, writes: 0, readBytes: 0, writeBytes: 0, mean: null, p99: null, depth: 0, failed: 0 };
  const reads = delta("reads"), writes = delta("writes"), time = delta("read_seconds") + delta("write_seconds");
  return {
    reads: reads / seconds, writes: writes / seconds, readBytes: delta("read_bytes") / seconds, writeBytes: delta("written_bytes") / seconds,
    mean: reads + writes > 0 ? time / (reads + writes) * 1e6 : null, p99: percentile(old.latency, part.latency, 0.99), depth: time / seconds, failed: delta("failed") / seconds,
  };
}

function percentile(old, latency, share) {
  if (!latency) return null;
  const counts = new Map(latency.buckets);
  if (old && old.total <= latency.total) for (const [end, count] of old.buckets) counts.set(end, (counts.get(end) || 0) - count);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0);
  let soFar = 0;
  for (const [end, count] of [...counts].sort((a, b) => a[0] - b[0])) { soFar += count; if (count > 0 && soFar >= share * all) return end; }
  return null;
}

const find = (list, name) => list && list.find(part => part.name === name);

/* ---- the loop ---- */
async function tick() {
  clearTimeout(timer);
  try {
    const answer = await call("api/status?events_after=" + lastEvent);
    failures = 0;
    before = now; now = answer.status; methods = new Set(answer.methods);
    $("login").hidden = true; $("main").hidden = false;
    show(answer);
  } catch (error) {
    if (error.status === 401) { askToken(token ? "This token is not the right one." : ""); return; }
    failures++;
    badge(false, failures > 1 ? "vhostd does not answer" : "connecting");
  }
  timer = setTimeout(tick, document.hidden ? 5000 : 1000);
}

function askToken(fault) {
  $("main").hidden = true; $("login").hidden = false; $("login-error").textContent = fault; badge(false, "locked"); $("token").focus();
}

$("login-form").addEventListener("submit", event => {
  event.preventDefault();
  token = $("token").value.trim(); sessionStorage.setItem("token", token); $("token").value = "";
  tick();
});

function badge(good, text) { const b = $("health"); b.textContent = text; b.className = "badge " + (good ? "good" : "bad"); }

function show(answer) {
  const seconds = before ? now.time_seconds - before.time_seconds : 0;
  badge(now.health.healthy, now.health.healthy ? "healthy" : "not healthy");
  $("health").title = now.health.problems.join("\n");
  const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  $("summary").textContent = [many(now.controllers.length, "controller"), many(now.bdevs.filter(b => b.state === "present").length, "bdev"), many(now.reactors.length, "reactor")].join(", ");
  $("adders").hidden = !answer.actions; $("histograms").disabled = !answer.actions;
  $("histograms").checked = now.controllers.some(c => c.latency) || now.bdevs.some(b => b.latency);

  const all = { reads: 0, writes: 0, readBytes: 0, writeBytes: 0, depth: 0, weighted: 0, p99: null };
  for (const bdev of now.bdevs) {
    const r = bdev.rates = rates(before && find(before.bdevs, bdev.name), bdev, seconds);
    for (const key of ["reads", "writes", "readBytes", "writeBytes", "depth"]) all[key] += r[key];
    if (r.mean !== null) all.weighted += r.mean * (r.reads + r.writes);
    if (r.p99 !== null) all.p99 = Math.max(all.p99 || 0, r.p99);
  }
  for (const controller of now.controllers) controller.rates = rates(before && find(before.controllers, controller.name), controller, seconds);
  const iops = all.reads + all.writes, mean = iops > 0 ? all.weighted / iops : null;
  $("t-iops").textContent = format(iops); $("t-bandwidth").textContent = format((all.readBytes + all.writeBytes) / 1e6);
  $("t-latency").textContent = format(mean); $("t-depth").textContent = format(all.depth);
  if (before) {
    push("iops", all.reads, all.writes); push("bandwidth", all.readBytes / 1e6, all.writeBytes / 1e6); push("latency", mean, all.p99);
  }
  drawChart("iops"); drawChart("bandwidth"); drawChart("latency");
  showReactors(seconds); drawGraph(); showDetails(answer.actions); showEvents(answer.events);
}

function push(chart, a, b) { const list = history_[chart]; list.push([a, b]); if (list.length > HISTORY) list.shift(); }

function showReactors(seconds) {
  $("reactors").replaceChildren(...now.reactors.map(reactor => {
    const old = before && before.reactors.find(r => r.id === reactor.id);
    const busy = old && seconds > 0 ? Math.min(100, Math.max(0, (reactor.busy_seconds - old.busy_seconds) / seconds * 100)) : 0;
    const meter = element("progress", { max: 100, value: busy, "aria-label": `CPU ${reactor.cpu} busy` });
    return element("div", { class: "bar", title: reactor.health }, element("span", {}, `CPU ${reactor.cpu}${reactor.health === "healthy" ? "" : " ✕"}`), meter, element("span", {}, busy.toFixed(0) + " %"));
  }));
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/* ---- charts ---- */
function drawChart(name) {
  const canvas = $("c-" + name), list = history_[name], ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  canvas.width = width * ratio; canvas.height = height * ratio;
  const c = canvas.getContext("2d"), css = getComputedStyle(document.documentElement);
  c.scale(ratio, ratio);
  const top = Math.max(1e-9, ...list.flat().filter(v => v !== null)) * 1.1, left = 46, bottom = height - 16;
  c.font = "11px system-ui, sans-serif"; c.textAlign = "right"; c.fillStyle = css.getPropertyValue("--quiet"); c.strokeStyle = css.getPropertyValue("--line"); c.lineWidth = 1;
  for (let i = 0; i <= 2; i++) {
    const y = 8 + (bottom - 8) * i / 2;
    c.beginPath(); c.moveTo(left, y + .5); c.lineTo(width, y + .5); c.stroke();
    c.fillText(list.length ? format(top * (1 - i / 2)).replace(" ", "") : "", left - 6, y + 4);
  }
  c.textAlign = "left"; c.fillText("2 min ago", left, height - 3); c.textAlign = "right"; c.fillText("now", width, height - 3);
  for (const [index, colour] of [[1, "--write"], [0, "--read"]]) {
    const x = i => width - (list.length - 1 - i) * (width - left) / (HISTORY - 1), y = v => bottom - (bottom - 8) * v / top;
    c.strokeStyle = c.fillStyle = css.getPropertyValue(colour).trim(); c.lineWidth = 1.8; c.lineJoin = "round";
    c.beginPath();
    let open = false, first = 0, last = 0;
    list.forEach((pair, i) => {
      if (pair[index] === null) { open = false; return; }
      if (open) c.lineTo(x(i), y(pair[index])); else { c.moveTo(x(i), y(pair[index])); first = first || x(i); }
      open = true; last = x(i);
    });
    c.stroke();
    if (index === 0 && list.length > 1 && list.every(p => p[0] !== null)) { c.lineTo(last, bottom); c.lineTo(first, bottom); c.globalAlpha = .12; c.fill(); c.globalAlpha = 1; }
  }
}

/* ---- graph ---- */
function svg(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// As much of the end of a text as there is room for: letters differ in width, and so do fonts.
const ruler = document.createElement("canvas").getContext("2d");
function fit(text, room, weight, size) {
  ruler.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  let cut = 0, kept = text;
  while (cut < text.length && ruler.measureText(kept).width > room) kept = "…" + text.slice(++cut);
  return kept;
}

function drawGraph() {
  const graph = $("graph"), width = Math.max(720, graph.parentElement.clientWidth), w = 216, h = 62, gap = 16, head = 24;
  const columns = [2, (width - w) / 2, width - w - 2];
  const order = [];
  for (const c of now.controllers) for (const b of c.bdevs) if (!order.includes(b.bdev)) order.push(b.bdev);
  for (const b of now.bdevs) if (!order.includes(b.name)) order.push(b.name);
  const shown = order.filter(name => { const b = find(now.bdevs, name); return (b && b.size_bytes !== null) || now.controllers.some(c => c.bdevs.some(r => r.bdev === name)); });
  const rows = Math.max(1, now.controllers.length, shown.length), height = head + rows * (h + gap);
  graph.setAttribute("viewBox", `0 0 ${width} ${height}`); graph.setAttribute("height", height);
  const parts = [], y = (i, count) => head + (rows - count) * (h + gap) / 2 + i * (h + gap);
  ["transports", "devices", "bdevs"].forEach((title, i) => parts.push(svg("text", { x: columns[i] + 4, y: 12, class: "column" }, title)));
  const edge = (x1, y1, x2, y2, kind) => parts.push(svg("path", { d: `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`, class: "edge " + kind }));
  now.controllers.forEach((c, i) => {
    const cy = y(i, now.controllers.length) + h / 2, live = c.rates.reads + c.rates.writes > 0;
    edge(columns[0] + w, cy, columns[1], cy, live ? "live" : "");
    for (const reference of c.bdevs) {
      const bdev = find(now.bdevs, reference.bdev);
      edge(columns[1] + w, cy, columns[2], y(shown.indexOf(reference.bdev), shown.length) + h / 2, !bdev || bdev.state !== "present" ? "missing" : live && bdev.rates.reads + bdev.rates.writes > 0 ? "live" : "");
    }
  });
  now.controllers.forEach((c, i) => {
    const top = y(i, now.controllers.length), connected = !c.transport.state.startsWith("listening");
    parts.push(node("transport", c.name, columns[0], top, w, h, c.transport.type, c.transport.endpoint, c.transport.state, connected ? "good" : ""));
    parts.push(node("controller", c.name, columns[1], top, w, h, c.name, c.type + (c.bdevs.length === 1 ? "" : `, ${c.bdevs.length} targets`), rateText(c.rates), connected ? "good" : ""));
  });
  shown.forEach((name, i) => {
    const b = find(now.bdevs, name), present = b && b.state === "present";
    parts.push(node("bdev", name, columns[2], y(i, shown.length), w, h, name, b && b.size_bytes !== null ? `${b.type || b.product_name}, ${bytes(b.size_bytes)}` : "not there", b ? rateText(b.rates) : "", present ? "good" : "bad"));
  });
  if (!now.controllers.length && !shown.length) parts.push(svg("text", { x: width / 2, y: head + 40, "text-anchor": "middle", class: "column" }, "nothing is served yet"));
  graph.replaceChildren(...parts);
}

const rateText = r => r.reads + r.writes > 0 ? `${format(r.reads + r.writes)} IOPS, ${format((r.readBytes + r.writeBytes) / 1e6)} MB/s` : "idle";

function node(kind, name, x, y, w, h, title, sub, rate, state) {
  const g = svg("g", { class: "node" + (selected && selected.kind === kind && selected.name === name ? " selected" : ""), tabindex: 0, role: "button", "data-kind": kind, "data-name": name, transform: `translate(${x} ${y})` });
  g.append(svg("rect", { width: w, height: h, rx: 10 }), svg("circle", { cx: w - 16, cy: 18, r: 5, class: "dot " + state }), svg("text", { x: 13, y: 22, class: "name" }, fit(title, w - 42, 650, 13)),
    svg("text", { x: 13, y: 38, class: "sub" }, fit(sub, w - 26, 400, 12.5)), svg("text", { x: 13, y: 54, class: kind === "transport" || rate === "idle" ? "sub" : "rate" }, fit(rate, w - 26, 600, 12.5)));
  return g;
}

for (const kind of ["click", "keydown"]) $("graph").addEventListener(kind, event => {
  const g = event.target.closest(".node");
  if (!g || (kind === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  selected = { kind: g.dataset.kind, name: g.dataset.name };
  $("d-trace").hidden = true;
  drawGraph(); showDetails(!$("adders").hidden);
});

/* ---- details and events ---- */
function showDetails(actions) {
  const part = selected && find(selected.kind === "bdev" ? now.bdevs : now.controllers, selected.name);
  $("details").hidden = !part;
  if (!part) return;
  const r = part.rates, isBdev = selected.kind === "bdev";
  $("d-title").textContent = part.name;
  const rows = isBdev
    ? [["state", part.state], ["type", `${part.type || "-"} (${part.product_name || "-"})`], ["source", part.source || "-"], ["size", part.size_bytes === null ? "-" : `${bytes(part.size_bytes)}, blocks of ${part.block_size} bytes`]]
    : [["transport", `${part.transport.type} ${part.transport.endpoint}`], ["front-end", part.transport.state], ["type", part.type], ["bdevs", part.bdevs.map(b => `${b.place}: ${b.bdev}`).join(", ") || "none"], ["CPUs", part.cpus.join(", ") || "all"]];
  rows.push(["reads", `${format(r.reads)}/s, ${format(r.readBytes / 1e6)} MB/s (${part.reads} in all)`], ["writes", `${format(r.writes)}/s, ${format(r.writeBytes / 1e6)} MB/s (${part.writes} in all)`],
    ["latency", `mean ${format(r.mean)} µs` + (part.latency ? `, p50 ${format(part.latency.p50_us)}, p99 ${format(part.latency.p99_us)}, p99.9 ${format(part.latency.p999_us)} since switched on` : "")],
    ["under way", part.outstanding], ["failed", part.failed]);
  $("d-list").replaceChildren(...rows.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, String(value))]));
  const buttons = isBdev ? bdevButtons(part, actions) : controllerButtons(part, actions);
  $("d-actions").replaceChildren(...buttons.map(([text, action]) => { const b = element("button", { type: "button" }, text); b.addEventListener("click", action); return b; }));
}

function bdevButtons(bdev, actions) {
  if (!actions) return [];
  const buttons = [], resize = `bdev_${bdev.type === "file" ? "aio" : bdev.type}_resize`;
  if (methods.has(resize)) buttons.push(["Resize", () => open("d-resize", form => act(resize, { name: bdev.name, new_size: +form.size.value }), form => { form.size.value = bdev.size_bytes / 2 ** 20; })]);
  if (methods.has("bdev_set_qos_limit")) buttons.push(["Limits", () => open("d-qos", form => act("bdev_set_qos_limit", Object.fromEntries([["name", bdev.name], ...["rw_ios_per_sec", "rw_mbytes_per_sec", "r_mbytes_per_sec", "w_mbytes_per_sec"].map(key => [key, +form[key].value])])))]);
  buttons.push(["Remove", () => sure(`Remove bdev ${bdev.name}? Targets that use it go with it; what is in memory is lost.`, () => act("delete_bdev", { name: bdev.source || bdev.name }))]);
  return buttons;
}

function controllerButtons(controller, actions) {
  const buttons = [["Trace", async () => { const t = (await call("api/trace?controller=" + encodeURIComponent(controller.name))).result; $("d-trace").textContent = t.events.map(e => `${e.time.slice(11, 26)}  ${e.text}`).concat(t.requests.map(q => `${q.age_us} µs ago  ${q.bdev}  ${q.operation}  ${q.start_block}+${q.num_blocks}  ${q.status}  ${q.latency_us} µs`)).join("\n") || "nothing yet"; $("d-trace").hidden = false; }]];
  if (!actions) return buttons;
  if (controller.type === "scsi") {
    buttons.push(["Add target", () => open("d-target", form => act("vhost_scsi_controller_add_target", { ctrlr: controller.name, scsi_target_num: +form.target.value, bdev_name: form.bdev.value }))]);
    for (const reference of controller.bdevs) {
      const target = reference.place.replace(/^targets\.?/, "").replace(/\D/g, "");
      buttons.push([`Remove target ${target}`, () => sure(`Remove target ${target} (${reference.bdev}) from ${controller.name}? The guest loses the disk.`, () => act("vhost_scsi_controller_remove_target", { ctrlr: controller.name, scsi_target_num: +target }))]);
    }
  }
  buttons.push(["Remove", () => sure(`Remove controller ${controller.name} and its transport?`, () => act("vhost_delete_controller", { ctrlr: controller.name }))]);
  return buttons;
}

function showEvents(events) {
  for (const event of events) {
    lastEvent = Math.max(lastEvent, event.id);
    const time = new Date(event.time);
    $("events").prepend(element("li", { class: event.level, title: `${event.category} [${event.event_id}]` }, element("time", { datetime: event.time }, time.toLocaleTimeString([], { hour12: false })), element("span", {}, event.text)));
  }
  while ($("events").children.length > 200) $("events").lastChild.remove();
}

/* ---- actions ---- */
function open(id, submit, prepare) {
  const dialog = $(id), form = dialog.querySelector("form"), fault = form.querySelector(".fault");
  fault.textContent = "";
  for (const list of form.querySelectorAll("[data-bdevs]")) list.replaceChildren(...now.bdevs.filter(b => b.state === "present").map(b => element("option", {}, b.name)));
  if (prepare) prepare(form);
  choose(form);
  form.onsubmit = async event => {
    if (event.submitter && event.submitter.value === "cancel") return;
    event.preventDefault();
    try { await submit(form); dialog.close(); tick(); } catch (error) { fault.textContent = error.message; }
  };
  dialog.showModal();
}

function sure(text, action) { $("sure-text").textContent = text; open("d-sure", action); }

function choose(form) {
  if (form.type) for (const label of form.querySelectorAll("[data-for]")) label.hidden = !label.dataset.for.split(" ").includes(form.type.value);
}

// Each dialog ends alike: what was refused, and two buttons.
for (const form of document.querySelectorAll("form[data-ok]")) {
  form.append($("form-end").content.cloneNode(true));
  const ok = form.querySelector("[value=ok]");
  ok.textContent = form.dataset.ok;
  ok.className = form.dataset.okClass;
}
for (const dialog of document.querySelectorAll("dialog")) dialog.querySelector("form").addEventListener("change", event => choose(event.currentTarget));

const submits = {
  "d-bdev": form => {
    const type = form.type.value, name = form.elements.name.value, block = +form.block.value;
    return type === "aio" ? act("bdev_aio_create", { name, filename: form.filename.value, block_size: block })
      : act(`bdev_${type}_create`, { name, num_blocks: +form.size.value * 2 ** 20 / block, block_size: block });
  },
  "d-controller": form => form.type.value === "scsi" ? act("vhost_create_scsi_controller", { ctrlr: form.elements.name.value })
    : act("vhost_create_blk_controller", { ctrlr: form.elements.name.value, dev_name: form.bdev.value, readonly: form.readonly.checked }),
};
for (const button of document.querySelectorAll("[data-open]")) button.addEventListener("click", () => open(button.dataset.open, submits[button.dataset.open]));
$("histograms").addEventListener("change", event => act("vhostd_set_histograms", { enable: event.target.checked }).catch(error => badge(false, error.message)));

/* ---- colours ---- */
function theme(value) { if (value) document.documentElement.dataset.theme = value; else delete document.documentElement.dataset.theme; if (now) for (const name of Object.keys(history_)) drawChart(name); }
theme(localStorage.getItem("theme"));
$("theme").addEventListener("click", () => {
  const current = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const next = current === "dark" ? "light" : "dark";
  localStorage.setItem("theme", next); theme(next);
});
addEventListener("resize", () => { if (now) { drawGraph(); for (const name of Object.keys(history_)) drawChart(name); } });
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick(); });
tick();
