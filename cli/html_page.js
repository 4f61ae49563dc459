// The page's only script: sorts and filters tables, and draws the prefix tree. All text from logs
// goes through textContent or an attribute, never into markup.
(() => {
  "use strict";

  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // ---- Tables ------------------------------------------------------------------------------

  const ROWS_TO_SORT = 3;
  const COLUMNS_TO_SORT = 3; // a table of two columns is a list in an order of its own
  const ROWS_TO_FILTER = 10;

  const sortValue = (cell, isNumber) => {
    if (!isNumber) return cell.textContent;
    return cell.dataset.v === undefined ? NaN : Number(cell.dataset.v);
  };

  const compareCells = (isNumber, sign) => (a, b) => {
    if (!isNumber) return sign * a.value.localeCompare(b.value, "en", { numeric: true });
    if (isNaN(a.value) || isNaN(b.value)) return isNaN(a.value) - isNaN(b.value);
    return sign * (a.value - b.value);
  };

  const sortTable = (table, column) => {
    const heads = [...table.tHead.rows[0].cells];
    const head = heads[column];
    const isNumber = head.classList.contains("number");
    const now = head.getAttribute("aria-sort");
    // Numbers begin with the largest, names with the first of the alphabet.
    const next = now ? (now === "ascending" ? "descending" : "ascending")
      : (isNumber ? "descending" : "ascending");
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", next);
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: sortValue(row.cells[column], isNumber) }));
    rows.sort(compareCells(isNumber, next === "ascending" ? 1 : -1));
    body.append(...rows.map((each) => each.row));
  };

  const addSorting = (table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sortTable(table, column));
      head.replaceChildren(button);
    });
  };

  const addFilter = (box, table) => {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < ROWS_TO_FILTER) return;
    const label = make("label", "", "filter ");
    const input = make("input");
    input.type = "search";
    input.autocomplete = "off";
    const found = make("span", "soft");
    found.setAttribute("role", "status");
    label.append(input);
    const line = make("div", "filter");
    line.append(label, found);
    box.prepend(line);
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        shown += row.hidden ? 0 : 1;
      }
      found.textContent = wanted ? `${shown} of ${rows.length} rows` : "";
    });
  };

  for (const box of document.querySelectorAll(".table")) {
    const table = box.querySelector("table");
    const isList = table.tHead.rows[0].cells.length < COLUMNS_TO_SORT;
    if (isList || table.tBodies[0].rows.length < ROWS_TO_SORT) continue;
    addSorting(table);
    addFilter(box, table);
  }

  // ---- The prefix tree ---------------------------------------------------------------------

  const block = document.getElementById("tree-data");
  if (!block) return;
  const data = JSON.parse(block.textContent);

  const ROW = 25;
  const MOST_ROWS = 40;
  const LEAST_PIXELS = 2;
  const LABEL_PIXELS = 34;
  const GAP_PIXELS = 5; // narrower nodes stand without a gap
  const TOKENS = 0;
  const USD = 1;

  const count = data.parent.length;
  const classes = data.classes;
  const text = (place) => (place < 0 ? "" : data.strings[place]);

  // Widths: a node's own amounts and those of all below it, per unit and class. Children stand
  // after their parents, so one pass from the end adds them up.
  const own = [data.tokens, data.usd];
  const whole = own.map((unit) => unit.map((column) => {
    const sums = Float64Array.from(column);
    for (let i = count - 1; i > 0; i--) sums[data.parent[i]] += sums[i];
    return sums;
  }));
  const total = whole.map((unit) => {
    const sums = new Float64Array(count);
    for (const column of unit) column.forEach((value, i) => { sums[i] += value; });
    return sums;
  });
  const level = new Int32Array(count);
  const children = Array.from({ length: count }, () => []);
  for (let i = 1; i < count; i++) {
    level[i] = level[data.parent[i]] + 1;
    children[data.parent[i]].push(i);
  }
  const searched = data.name.map((name, i) => [
    name, data.kinds[i], data.role[i], data.path[i], data.model[i], data.project[i], data.trace[i],
  ].map(text).join("\n").toLowerCase());

  const state = { zoom: 0, unit: TOKENS, focus: 0, matches: null, at: -1 };
  const byId = (id) => document.getElementById(id);
  const icicle = byId("icicle");
  const about = byId("tree-about");
  const drawn = new Map();

  // Numbers as the rest of the page writes them.
  const showTokens = (n) => {
    if (n < 1000) return String(Math.round(n));
    for (const [scale, letter] of [[1e3, "k"], [1e6, "M"], [1e9, "B"], [1e12, "T"]]) {
      const shown = (n / scale).toFixed(1);
      if (Number(shown) < 1000) return `${shown} ${letter}`;
    }
    return n.toExponential(2);
  };
  const showUsd = (usd) => {
    if (usd === 0) return "$0";
    if (usd >= 1) return "$" + usd.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
    return usd < 1e-6 ? "<$0.000001" : "$" + Number(usd.toPrecision(4)).toFixed(Math.min(10, 3 - Math.floor(Math.log10(usd))));
  };
  const showPart = (part) => {
    if (!isFinite(part)) return "–";
    if (part === 0 || part === 1) return `${part * 100} %`;
    if (part >= 0.9995) return ">99.9 %";
    return part < 0.0005 ? "<0.1 %" : `${(part * 100).toFixed(1)} %`;
  };
  const show = (value) => (state.unit === USD ? showUsd(value) : `${showTokens(value)} tokens`);

  const pathTo = (i) => {
    const found = [];
    for (let at = i; at >= 0; at = data.parent[at]) found.unshift(at);
    return found;
  };

  const parts = (unit, i) => classes
    .map(([, label], which) => [label, whole[unit][which][i]])
    .filter(([, value]) => value > 0)
    .map(([label, value]) => `${label} ${showPart(value / total[unit][i])}`)
    .join(", ");

  // Beginnings of prompts look alike; what tells them apart is whose they are.
  const title = (i) => {
    const project = level[i] === 1 ? text(data.project[i]).split("/").filter(Boolean).pop() : "";
    return project ? `${project}: ${text(data.name[i])}` : text(data.name[i]);
  };

  const spoken = (i) => {
    const calls = data.calls[i] ? `, ${data.calls[i].toLocaleString("en-US")} calls` : "";
    return `${title(i)}: ${show(total[state.unit][i])}${calls}; ${parts(state.unit, i)}`;
  };

  // Which nodes are drawn, and where: {node, left, width, row}, depth first; shares of the width.
  const layOut = () => {
    const sums = total[state.unit];
    const least = LEAST_PIXELS / Math.max(icicle.clientWidth, 1);
    const above = pathTo(state.zoom);
    const found = above.map((node, row) => ({ node, left: 0, width: 1, row }));
    const hidden = { thin: 0, deep: 0 };
    const waiting = [];
    const push = (node, left, row) => {
      const placed = [];
      let at = left;
      for (const child of children[node]) {
        const width = sums[child] / (sums[state.zoom] || 1);
        if (width < least) hidden.thin += data.rest[child] || 1;
        else if (row - above.length >= MOST_ROWS) hidden.deep += 1;
        else placed.push({ node: child, left: at, width, row });
        at += width;
      }
      waiting.push(...placed.reverse());
    };
    push(state.zoom, 0, above.length);
    while (waiting.length) {
      const next = waiting.pop();
      found.push(next);
      push(next.node, next.left, next.row + 1);
    }
    return { found, hidden };
  };

  const element = ({ node, left, width, row }) => {
    const item = make("div", "node");
    const pixels = width * icicle.clientWidth;
    const sum = total[state.unit][node] || 1;
    const ends = [];
    classes.slice(0, 3).reduce((before, _, which) => {
      ends.push(before + whole[state.unit][which][node] / sum);
      return ends[which];
    }, 0);
    ["--a", "--b", "--c"].forEach((name, i) => item.style.setProperty(name, `${100 * ends[i]}%`));
    item.style.left = `${100 * left}%`;
    item.style.width = `${100 * width}%`;
    item.style.top = `${row * ROW}px`;
    item.dataset.i = node;
    item.tabIndex = -1;
    item.setAttribute("role", "treeitem");
    item.setAttribute("aria-level", level[node] + 1);
    item.setAttribute("aria-label", spoken(node));
    if (children[node].length) item.setAttribute("aria-expanded", "true");
    if (ends[1] > ends[0]) item.classList.add("has-missed");
    else if (ends[2] > ends[1]) item.classList.add("has-unreported");
    if (row < level[state.zoom]) item.classList.add("above");
    if (data.rest[node]) item.classList.add("rest");
    if (pixels < GAP_PIXELS) item.classList.add("hair");
    if (pixels < LABEL_PIXELS) item.classList.add("thin");
    else item.textContent = `${title(node)} · ${show(total[state.unit][node]).replace(" tokens", "")}`;
    if (state.matches) item.classList.add(state.matches.has(node) ? "match" : "other");
    return item;
  };

  const draw = () => {
    const { found, hidden } = layOut();
    drawn.clear();
    const rows = Math.max(...found.map((each) => each.row)) + 1;
    icicle.style.height = `${rows * ROW}px`;
    const items = found.map((each) => {
      const item = element(each);
      drawn.set(each.node, { ...each, item });
      return item;
    });
    icicle.replaceChildren(...items);
    if (!drawn.has(state.focus)) state.focus = state.zoom;
    drawn.get(state.focus).item.tabIndex = 0;
    const left = [];
    if (hidden.thin) left.push(`${hidden.thin.toLocaleString("en-US")} more are too narrow to draw here`);
    if (hidden.deep) left.push(`${hidden.deep.toLocaleString("en-US")} stand deeper`);
    byId("tree-drawn").textContent = left.length ? `${left.join("; ")}: zoom in.` : "";
    byId("tree-up").disabled = state.zoom === 0;
    byId("tree-tokens").setAttribute("aria-pressed", state.unit === TOKENS);
    byId("tree-usd").setAttribute("aria-pressed", state.unit === USD);
  };

  const fact = (list, term, value) => {
    if (!value) return;
    const pair = make("div");
    pair.append(make("dt", "", term), make("dd", "", value));
    list.append(pair);
  };

  const describe = (i) => {
    const list = make("dl", "facts");
    const sums = (unit) => classes.reduce((sum, _, which) => sum + own[unit][which][i], 0);
    const usd = (value) => (total[USD][0] ? `, ${showUsd(value)}` : "");
    fact(list, "through here", `${showTokens(total[TOKENS][i])} tokens${usd(total[USD][i])}: `
      + `${showPart(total[state.unit][i] / total[state.unit][0])} of all`);
    fact(list, "of that", parts(state.unit, i));
    if (i && children[i].length) fact(list, "of that, this part itself", `${showTokens(sums(TOKENS))} tokens${usd(sums(USD))}`);
    fact(list, "calls", data.calls[i] && data.calls[i].toLocaleString("en-US"));
    fact(list, "length", data.length[i] && `${data.length[i].toLocaleString("en-US")} tokens, once`);
    fact(list, "role", text(data.role[i]));
    fact(list, "goes on in", i && data.ways[i] > 1 && `${data.ways[i].toLocaleString("en-US")} ways`);
    fact(list, "begins", text(data.excerpt[i]));
    fact(list, "stands first at", text(data.path[i]));
    fact(list, "in call", text(data.call[i]));
    fact(list, "model", text(data.model[i]));
    fact(list, "project", text(data.project[i]));
    fact(list, "trace", text(data.trace[i]));
    about.replaceChildren(make("h3", "", title(i)), list);
  };

  const focusOn = (node) => {
    const there = drawn.get(node);
    if (!there) return;
    drawn.get(state.focus).item.tabIndex = -1;
    state.focus = node;
    there.item.tabIndex = 0;
    there.item.focus({ preventScroll: false });
  };

  const zoomTo = (node, takeFocus) => {
    if (data.rest[node]) return;
    state.zoom = node;
    state.focus = node;
    draw();
    describe(node);
    if (takeFocus) focusOn(node);
  };

  const zoomOut = (takeFocus) => {
    if (state.zoom === 0) return;
    const before = state.zoom;
    zoomTo(data.parent[before], false);
    if (takeFocus) focusOn(drawn.has(before) ? before : state.zoom);
  };

  const choose = (node) => {
    if (node === state.zoom) zoomOut(true);
    else zoomTo(node, true);
  };

  // The next node in the same row, whosever child it is.
  const beside = (node, step) => {
    const here = drawn.get(node);
    const row = [...drawn.values()].filter((each) => each.row === here.row);
    return row[row.indexOf(here) + step];
  };

  const keys = {
    ArrowDown: (node) => children[node].find((child) => drawn.has(child)),
    ArrowUp: (node) => data.parent[node],
    ArrowLeft: (node) => beside(node, -1)?.node,
    ArrowRight: (node) => beside(node, 1)?.node,
  };

  icicle.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const node = state.focus;
    if (event.key in keys) {
      const next = keys[event.key](node);
      if (next !== undefined && next >= 0) focusOn(next);
    } else if (event.key === "Enter" || event.key === " ") choose(node);
    else if (event.key === "Escape" || event.key === "Backspace") zoomOut(true);
    else if (event.key === "Home") zoomTo(0, true);
    else return;
    event.preventDefault();
  });

  const nodeOf = (event) => {
    const item = event.target.closest(".node");
    return item ? Number(item.dataset.i) : -1;
  };
  icicle.addEventListener("click", (event) => {
    const node = nodeOf(event);
    if (node >= 0) choose(node);
  });
  icicle.addEventListener("pointerover", (event) => {
    const node = nodeOf(event);
    if (node >= 0) describe(node);
  });
  icicle.addEventListener("pointerleave", () => describe(state.focus));
  icicle.addEventListener("focusin", (event) => {
    const node = nodeOf(event);
    if (node >= 0) describe(node);
  });

  byId("tree-up").addEventListener("click", () => zoomOut(false));
  const useUnit = (unit) => () => {
    state.unit = unit;
    draw();
    describe(state.focus);
  };
  byId("tree-tokens").addEventListener("click", useUnit(TOKENS));
  byId("tree-usd").addEventListener("click", useUnit(USD));
  if (!total[USD][0]) {
    byId("tree-usd").disabled = true;
    byId("tree-usd").title = "no call here has a known price";
  }

  const search = byId("tree-search");
  const listed = () => [...state.matches];
  const tellFound = () => {
    const found = byId("tree-found");
    if (!state.matches) {
      found.textContent = "";
      return;
    }
    let tokens = 0;
    for (const node of state.matches) {
      for (const column of own[TOKENS]) tokens += column[node];
    }
    const place = state.at < 0 ? "" : `no. ${state.at + 1} of `;
    found.textContent = `${place}${state.matches.size.toLocaleString("en-US")} found, ${showTokens(tokens)} tokens in them`;
  };
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    state.at = -1;
    state.matches = wanted
      ? new Set(searched.flatMap((each, i) => (i && each.includes(wanted) ? [i] : [])))
      : null;
    draw();
    tellFound();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && search.value) {
      search.value = "";
      search.dispatchEvent(new Event("input"));
      event.preventDefault();
    } else if (event.key === "Enter" && state.matches && state.matches.size) {
      event.preventDefault();
      state.at = (state.at + (event.shiftKey ? state.matches.size - 1 : 1)) % state.matches.size;
      const node = listed()[state.at];
      zoomTo(data.rest[node] ? data.parent[node] : node, false);
      describe(node);
      tellFound();
    }
  });

  byId("tree").hidden = false;
  let width = icicle.clientWidth;
  new ResizeObserver(() => {
    if (icicle.clientWidth === width) return;
    width = icicle.clientWidth;
    const had = icicle.contains(document.activeElement);
    draw();
    if (had) focusOn(state.focus);
  }).observe(icicle);
  draw();
  describe(0);
})();
