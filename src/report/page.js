"use strict";
// Shows what was computed when the page was written. Words are set as text, never as markup.
(() => {
  document.documentElement.classList.add("with-script");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const numbers = (words) => words.split(" ").map(Number);

  // A chart's drawing: places of values, and the value at a place.
  const frameOf = (svg) => {
    const [left, right, top, bottom] = numbers(svg.dataset.frame);
    const [x0, x1] = numbers(svg.dataset.across);
    const [y0, y1] = numbers(svg.dataset.up);
    const x = (value) => left + ((value - x0) / (x1 - x0)) * (right - left);
    const y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - top);
    return { left, right, top, bottom, x, y };
  };
  const svgElement = (svg, tag, className) => {
    const made = document.createElementNS(svg.namespaceURI, tag);
    made.setAttribute("class", className);
    return made;
  };

  // Sliders: each position has its texts, shares of colour and places.
  const move = (input, data, movers) => {
    const at = Number(input.value);
    for (const [key, texts] of Object.entries(data.cells)) {
      for (const cell of data.found[key]) cell.textContent = texts[at];
    }
    for (const [key, shares] of Object.entries(data.shares)) {
      for (const cell of data.found[key]) cell.style.setProperty("--share", shares[at]);
    }
    input.setAttribute("aria-valuetext", data.words[at]);
    for (const { mark, frame } of movers) {
      const [x, y] = data.places[mark.dataset.places][at];
      const hidden = x === null || y === null;
      mark.toggleAttribute("hidden", hidden);
      if (hidden) continue;
      if (y === undefined) {
        mark.setAttribute("d", `M${frame.x(x).toFixed(1)},${frame.top}V${frame.bottom}`);
      } else {
        mark.setAttribute("cx", frame.x(x).toFixed(1));
        mark.setAttribute("cy", frame.y(y).toFixed(1));
      }
    }
  };
  for (const input of all("input[data-slider-name]")) {
    const name = input.dataset.sliderName;
    const data = JSON.parse(document.getElementById(`data-${name}`).textContent);
    data.cells[`${name}-words`] = data.words;
    data.found = {};
    for (const cell of all("[data-cell]")) (data.found[cell.dataset.cell] ??= []).push(cell);
    const known = (key) => (data.found[key] ??= []);
    [...Object.keys(data.cells), ...Object.keys(data.shares)].forEach(known);
    const movers = all(`[data-slider="${name}"]`).map((mark) => ({ mark, frame: frameOf(mark.ownerSVGElement) }));
    input.addEventListener("input", () => move(input, data, movers));
    for (const button of all(`button[data-for="${name}"]`)) {
      button.addEventListener("click", () => {
        input.value = button.dataset.to;
        input.dispatchEvent(new Event("input", { bubbles: true }));
      });
    }
    input.value = input.getAttribute("value"); // a browser that reloads would keep the old place
  }

  // Hover: the nearest point of each line, or of all lines where a chart is not a course along x.
  const linesOf = (svg) =>
    all("path[data-points]", svg).map((path) => ({
      name: path.dataset.name,
      kind: path.getAttribute("class"),
      points: path.dataset.points.split(" ").map((pair) => pair.split(",").map(Number)),
    }));
  const nearest = (points, distance) =>
    points.reduce((best, point) => (distance(point) < distance(best) ? point : best), points[0]);
  const shown = (value) => String(Number(value.toPrecision(4)));
  const follow = (figure) => {
    const svg = figure.querySelector("svg[data-frame]");
    const frame = frameOf(svg);
    const lines = linesOf(svg).filter((line) => line.points.length);
    const rule = svgElement(svg, "path", "hover");
    const dots = lines.map((line) => svgElement(svg, "circle", `hover ${line.kind}`));
    const box = document.createElement("div");
    box.className = "tip";
    const hide = () => {
      box.remove();
      [rule, ...dots].forEach((mark) => mark.remove());
    };
    const show = (event) => {
      const area = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / area.width;
      const px = (event.clientX - area.left) * scale;
      const py = (event.clientY - area.top) * scale;
      if (px < frame.left - 8 || px > frame.right + 8) return hide();
      const flat = "flat" in svg.dataset;
      const near = ([x, y]) =>
        flat ? Math.hypot(frame.x(x) - px, frame.y(y) - py) : Math.abs(frame.x(x) - px);
      let found = lines.map((line, i) => ({ line, dot: dots[i], point: nearest(line.points, near) }));
      if (!flat) {
        const x = nearest(found.map((hit) => hit.point), near)[0];
        found = found.filter((hit) => hit.point[0] === x);
      }
      hide();
      const head = document.createElement("b");
      head.textContent = flat ? svg.dataset.names : `${svg.dataset.names} ${shown(found[0].point[0])}`;
      box.replaceChildren(head);
      for (const { line, dot, point } of found) {
        dot.setAttribute("cx", frame.x(point[0]));
        dot.setAttribute("cy", frame.y(point[1]));
        dot.setAttribute("r", 4);
        svg.append(dot);
        const row = document.createElement("span");
        const key = document.createElement("i");
        key.className = line.kind;
        row.append(key, flat ? `${line.name}: ${shown(point[0])}, ${shown(point[1])}` : `${line.name} ${shown(point[1])}`);
        box.append(row);
      }
      if (!flat) {
        rule.setAttribute("d", `M${frame.x(found[0].point[0])},${frame.top}V${frame.bottom}`);
        svg.prepend(rule);
      }
      figure.append(box);
      const place = figure.getBoundingClientRect();
      const room = place.width - box.offsetWidth - 4;
      const left = event.clientX - place.left + 14;
      const other = event.clientX - place.left - box.offsetWidth - 14;
      box.style.left = `${Math.max(0, left <= room ? left : Math.max(0, Math.min(other, room)))}px`;
      box.style.top = `${event.clientY - place.top + 14}px`;
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
  };
  all("figure.chart").forEach(follow);

  // Costs: the only arithmetic here, because the prices are the reader's.
  for (const box of all(".costs")) {
    const wrong = JSON.parse(document.getElementById("data-costs").textContent);
    const slider = document.getElementById(`slider-${box.dataset.for}`);
    const words = JSON.parse(document.getElementById(`data-${box.dataset.for}`).textContent).words;
    const price = (kind) => Number(box.querySelector(`[data-price=${kind}]`).value);
    const shownCost = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 4 });
    const set = (key, text) => all(`[data-cost=${key}]`, box).forEach((cell) => (cell.textContent = text));
    const count = () => {
      const cost = ({ fp, fn }) => fp.map((number, i) => price("fp") * number + price("fn") * fn[i]);
      for (const [split, counts] of Object.entries(wrong)) set(split, shownCost(cost(counts)[Number(slider.value)]));
      if (!wrong.val) return;
      const found = cost(wrong.val);
      const least = Math.min(...found);
      set("least", shownCost(least));
      set("at", words[found.indexOf(least)]);
    };
    all("input", box).forEach((input) => input.addEventListener("input", count));
    slider.addEventListener("input", count);
    count();
  }

  // Filters: rows of a list that hold all words typed.
  for (const input of all("input[data-filter]")) {
    const rows = all("tbody tr", document.getElementById(input.dataset.filter));
    const words = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, i) => (row.hidden = !wanted.every((word) => words[i].includes(word))));
    });
  }
})();

// Many runs on one page. A mark belongs to runs and hides when none of them is wanted: a switch of the legend turns a
// run off, and a range dragged on an axis leaves out those beyond it.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const marks = all("[data-runs]").map((mark) => ({ mark, runs: mark.dataset.runs.split(" ") }));
  if (!marks.length) return;
  const off = new Set();
  const outside = new Set();
  const wanted = (run) => !off.has(run) && !outside.has(run);
  const apply = () => {
    // A table that shrinks above the axes would move them away under the hand that drags.
    for (const box of all(".tall")) box.style.minHeight ||= `${box.offsetHeight}px`;
    for (const { mark, runs } of marks) mark.toggleAttribute("hidden", !runs.some(wanted));
    for (const label of all("[data-marks]")) label.toggleAttribute("hidden", outside.has(label.dataset.marks));
    for (const output of all("[data-shown-runs]")) {
      const lines = all(".parallel path[data-runs]");
      const left = lines.filter((line) => !line.hasAttribute("hidden")).length;
      output.textContent = `${left} of ${lines.length} ${output.dataset.shownRuns}`;
    }
  };

  // Switches.
  const switches = all("input[data-switch]");
  for (const input of switches) {
    input.checked = true; // a browser that reloads would keep the old state
    input.addEventListener("change", () => {
      off[input.checked ? "delete" : "add"](input.dataset.switch);
      apply();
    });
  }
  for (const button of all("button[data-switch-all]")) {
    button.addEventListener("click", () => {
      for (const input of switches) {
        input.checked = button.dataset.switchAll === "on";
        off[input.checked ? "delete" : "add"](input.dataset.switch);
      }
      apply();
    });
  }
  const lift = (run, strong) => {
    for (const path of all(`path[data-runs="${run}"]`)) path.classList.toggle("strong", strong);
  };
  for (const label of all("[data-marks]")) {
    label.addEventListener("pointerenter", () => lift(label.dataset.marks, true));
    label.addEventListener("pointerleave", () => lift(label.dataset.marks, false));
  }

  // The curve nearest to the pointer, with its run and value.
  const point = (svg, event) => {
    const area = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / area.width;
    return [(event.clientX - area.left) * scale, (event.clientY - area.top) * scale];
  };
  for (const figure of all("figure.overlay")) {
    const svg = figure.querySelector("svg");
    const curves = all("path[data-values]", svg).map((path) => ({
      path,
      places: path.getAttribute("d").slice(1).split(/[ML]/).map((pair) => pair.split(/[,h]/).map(Number)),
      values: path.dataset.values.split(" "),
    }));
    figure.classList.toggle("many", curves.length > 16);
    const box = document.createElement("div");
    box.className = "tip";
    let lifted = null;
    const hide = () => {
      box.remove();
      if (lifted) lift(lifted, false);
      lifted = null;
    };
    const show = (event) => {
      const [px, py] = point(svg, event);
      let best = { distance: 40 };
      for (const curve of curves) {
        if (curve.path.hasAttribute("hidden")) continue;
        curve.places.forEach(([x, y], i) => {
          const distance = Math.hypot(x - px, y - py);
          if (distance < best.distance) best = { distance, curve, i };
        });
      }
      hide();
      if (!best.curve) return;
      const { path, values } = best.curve;
      lifted = path.dataset.runs;
      lift(lifted, true);
      const [x, y] = values[best.i].split(",");
      const name = document.createElement("b");
      name.textContent = path.dataset.name;
      const words = document.createElement("span");
      words.textContent = `${figure.dataset.across} ${x}: ${y}`;
      box.replaceChildren(name, words);
      figure.append(box);
      const place = figure.getBoundingClientRect();
      box.style.left = `${Math.max(0, Math.min(event.clientX - place.left + 14, place.width - box.offsetWidth - 4))}px`;
      box.style.top = `${event.clientY - place.top + 14}px`;
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", hide);
  }

  // Ranges on axes.
  for (const svg of all("svg.parallel")) {
    const lines = all("path[data-shares]", svg).map((path) => ({
      run: path.dataset.runs,
      shares: path.dataset.shares.split(" ").map(Number),
    }));
    const [top, bottom] = svg.dataset.sides.split(" ").map(Number);
    const ranges = new Map();
    const filter = () => {
      outside.clear();
      for (const { run, shares } of lines) {
        const inside = [...ranges].every(([axis, [low, high]]) => shares[axis] >= low && shares[axis] <= high);
        if (!inside) outside.add(run);
      }
      apply();
    };
    const brushOf = (axis) => svg.querySelector(`[data-brush="${axis}"]`);
    const draw = (axis, [low, high]) => {
      const brush = brushOf(axis);
      const y = (share) => bottom - share * (bottom - top);
      brush.setAttribute("y", y(high));
      brush.setAttribute("height", y(low) - y(high));
      brush.removeAttribute("hidden");
    };
    const release = (axis) => {
      ranges.delete(axis);
      brushOf(axis).setAttribute("hidden", "");
    };
    for (const band of all("rect.band", svg)) {
      const axis = Number(band.dataset.axis);
      const shareAt = (event) => Math.max(-0.15, Math.min(1.03, (bottom - point(svg, event)[1]) / (bottom - top)));
      let start = null;
      band.addEventListener("pointerdown", (event) => {
        start = shareAt(event);
        band.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      band.addEventListener("pointermove", (event) => {
        if (start === null) return;
        const end = shareAt(event);
        const range = [Math.min(start, end), Math.max(start, end)];
        if (range[1] - range[0] < 0.01) return;
        ranges.set(axis, range);
        draw(axis, range);
        filter();
      });
      band.addEventListener("pointerup", (event) => {
        if (start !== null && Math.abs(shareAt(event) - start) < 0.01) {
          release(axis);
          filter();
        }
        start = null;
      });
      band.addEventListener("pointercancel", () => (start = null));
    }
    for (const button of all("button[data-clear]")) {
      button.addEventListener("click", () => {
        [...ranges.keys()].forEach(release);
        filter();
      });
    }
  }
})();
