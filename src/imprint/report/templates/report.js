"use strict";
// Everything below shows text from skills, games and models: it is only ever set as textContent.
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // Tips: any element with data-tip, under the pointer or in focus.
  const tip = byId("tip");
  const showTip = (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.getAttribute("data-tip");
    const box = target.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = (above > 8 ? above : box.bottom + 8) + "px";
  };
  document.addEventListener("pointerover", showTip);
  document.addEventListener("focusin", showTip);
  document.addEventListener("focusout", () => { tip.hidden = true; });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  // A live page loads itself anew, with the same tables open.
  const every = Number(document.body.dataset.refresh);
  if (every) {
    const tables = [...document.querySelectorAll("details")];
    const text = (table) => table.querySelector("summary").textContent.replace(/ \(\d+\)$/, "");
    const opened = JSON.parse(sessionStorage.getItem("opened") || "[]");
    for (const table of tables) table.open = opened.includes(text(table));
    setTimeout(() => {
      sessionStorage.setItem("opened", JSON.stringify(tables.filter((table) => table.open).map(text)));
      location.reload();
    }, 1000 * every);
  }

  // Episodes, with and without skills.
  const data = JSON.parse(byId("episodes").textContent);
  if (!data.length || !byId("browser")) return;
  const ARMS = [["without", "Without skills"], ["with", "With skills"]];
  const OUTCOMES = {
    "any": () => true,
    "solved in both": (p) => p.with && p.without && p.with.success && p.without.success,
    "only with skills": (p) => p.with && p.without && p.with.success && !p.without.success,
    "only without skills": (p) => p.with && p.without && !p.with.success && p.without.success,
    "solved in neither": (p) => p.with && p.without && !p.with.success && !p.without.success,
  };
  const pretty = (family) => family.replaceAll("_", " ");
  const fill = (select, options, chosen) => {
    select.replaceChildren(...options.map(([value, text]) => {
      const option = make("option", "", text);
      option.value = value;
      option.selected = value === chosen;
      return option;
    }));
  };
  let chosen = null;

  const evaluation = () => data.find((e) => String(e.step) === byId("step").value);
  const key = (pair) => pair.task + "\n" + pair.seed;
  const title = (pair) => pair.goal || pair.task;

  const drawTurn = (turn, number) => {
    const act = make("div", "act" + (turn.valid ? "" : " invalid"));
    act.append(make("small", "", String(number)), make("span", "", turn.action || "(no action)"));
    const notes = [turn.valid ? "" : "invalid", turn.tokens == null ? "" : turn.tokens.toLocaleString("en") + " tokens"];
    act.append(make("small", "", notes.filter(Boolean).join(" · ")));
    const nodes = [act];
    for (const address of turn.pictures || []) {
      const picture = make("img", "seen");
      picture.src = address;
      picture.alt = `What the policy saw at turn ${number}`;
      picture.loading = "lazy";
      nodes.splice(-1, 0, picture);
    }
    if (turn.response) nodes.push(make("p", "said", turn.response));
    nodes.push(make("p", "obs", turn.observation));
    return nodes;
  };

  const drawArm = (episode, arm, name) => {
    const box = make("article", "arm " + arm);
    box.append(make("h3", "", name));
    if (!episode) {
      box.append(make("p", "meta", "not played"));
      return box;
    }
    const meta = make("p", "meta");
    meta.append(make("b", episode.success ? "yes" : "no", episode.success ? "solved" : "not solved"));
    const turns = episode.turns.length + episode.left;
    const why = episode.success ? "" : ` · ${episode.stop.replaceAll("_", " ")}`;
    meta.append(` in ${turns} turns · ${episode.tokens.toLocaleString("en")} tokens per turn${why}`);
    const talk = make("div", "talk");
    talk.tabIndex = 0;
    if (episode.skills.length) talk.append(make("p", "said", "In the context: " + episode.skills.join(", ")));
    talk.append(make("p", "obs", episode.first));
    episode.turns.forEach((turn, i) => talk.append(...drawTurn(turn, i + 1)));
    if (episode.left) talk.append(make("p", "said", `${episode.left} more turns are not shown.`));
    box.append(meta, talk);
    return box;
  };

  const drawPair = (pair) => {
    byId("arms").replaceChildren(...(pair ? ARMS.map(([arm, name]) => drawArm(pair[arm], arm, name)) : []));
  };

  const drawTasks = () => {
    const accept = OUTCOMES[byId("outcome").value];
    const family = byId("family").value;
    const here = evaluation();
    const ofFamily = (p) => family === "" || p.family === family;
    const pairs = here.pairs.filter((p) => accept(p) && ofFamily(p));
    const current = pairs.find((p) => key(p) === chosen) || pairs[0];
    byId("tasks").replaceChildren(...pairs.map((pair) => {
      const button = make("button");
      const dots = make("span", "dots");
      for (const [arm] of ARMS) {
        const episode = pair[arm];
        dots.append(make("span", episode ? (episode.success ? "yes" : "no") : "", episode ? (episode.success ? "✓" : "✗") : "·"));
      }
      button.append(dots, title(pair), make("small", "", pretty(pair.family)));
      button.setAttribute("aria-current", String(pair === current));
      button.addEventListener("click", () => { chosen = key(pair); drawTasks(); });
      const item = make("li");
      item.append(button);
      return item;
    }));
    if (!pairs.length) byId("tasks").append(make("li", "empty", "No such task."));
    const count = (name) => here.pairs.filter((p) => OUTCOMES[name](p) && ofFamily(p)).length;
    fill(byId("outcome"), Object.keys(OUTCOMES).map((name) => [name, `${name} (${count(name)})`]), byId("outcome").value);
    byId("shown").textContent = `Step ${here.step}: ${here.pairs.length} of ${here.total} tasks.`;
    drawPair(current);
  };

  const families = [...new Set(data.flatMap((e) => e.pairs.map((p) => p.family)))].sort();
  const last = String(data[data.length - 1].step);
  fill(byId("step"), data.map((e) => [String(e.step), String(e.step)]), last);
  fill(byId("family"), [["", "all"], ...families.map((f) => [f, pretty(f)])], "");
  fill(byId("outcome"), Object.keys(OUTCOMES).map((name) => [name, name]), "any");
  for (const id of ["step", "family", "outcome"]) byId(id).addEventListener("change", drawTasks);
  drawTasks();
})();
