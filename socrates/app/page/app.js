"use strict";
// Everything that is shown is set as text, never as HTML.
const at = (id) => document.getElementById(id);
const PAUSE = 450; // milliseconds without a key before the bars follow
const ONE_PERSON = "The difference is of this one persona and has no interval; the command experiment gives effects with theirs.";
const main = document.querySelector("main");
let examples = [], timer = 0, latest = 0;

function element(tag, name, text) {
  const made = document.createElement(tag);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// The bars of an answer; longest is the share of a full bar, the same for answers that are compared.
function bars(place, answer, longest, title) {
  const rows = answer.bars.map((bar) => {
    const row = element("div", "bar"), track = element("div", "track"), fill = element("div", "fill");
    fill.style.width = `${100 * bar.share / longest}%`;
    track.append(fill);
    row.append(element("span", "label", bar.label), track, element("span", "share", `${(100 * bar.share).toFixed(1)} %`));
    return row;
  });
  const summary = `Expected answer ${answer.expected.toFixed(2)}; middle 80 %: ${answer.middle_80.join(" to ")}; ` +
    `format validity ${(100 * answer.format_validity).toFixed(1)} %`;
  place.replaceChildren(element("h2", "title", title), ...rows, element("p", "summary", summary));
}

function say(text, wrong) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", Boolean(wrong));
}

async function call(path, body) {
  const options = body && {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)};
  const response = await fetch(path, options || {});
  const result = await response.json();
  if (!response.ok) throw new Error(result.error);
  return result;
}

async function predict() {
  clearTimeout(timer);
  const mine = ++latest, two = at("compare").checked;
  const common = {demographics: at("demographics").value, scale: at("scale").value.trim() || null};
  const ask = (id) => call("api/predict", {...common, scenario: at(id).value});
  if (!at("a").value.trim() || (two && !at("b").value.trim())) {
    say(two ? "Give both wordings." : "Give what the person reads, with its question and its scale.");
    return;
  }
  say("Asking …");
  main.classList.add("stale"); // the bars that stand there are of another question
  try {
    const shown = await Promise.all(two ? [ask("a"), ask("b")] : [ask("a")]);
    if (mine !== latest) return; // a later question is on its way
    const [first, second] = shown;
    const moved = two ? second.expected - first.expected : 0;
    const longest = Math.max(...shown.flatMap((answer) => answer.bars.map((bar) => bar.share)));
    bars(at("answer-a"), first, longest, two ? "First wording" : "");
    if (two) bars(at("answer-b"), second, longest, "Second wording");
    main.classList.remove("stale");
    say(two
      ? first.scale !== second.scale ? "The wordings have different scales." :
        `The second wording moves the expected answer by ${moved > 0 ? "+" : ""}${moved.toFixed(2)}.`
      : `Answered on the scale ${first.scale.length > 40 ? `${first.options[0]}..${first.options.at(-1)}` : first.scale}: ` +
        `expected answer ${first.expected.toFixed(2)}.`);
    const both = two ? first.notes.filter((note) => second.notes.includes(note)) : first.notes;
    const alone = (answer, name) => answer.notes.filter((note) => !both.includes(note)).map((note) => `${name} wording: ${note}`);
    const notes = two ? [ONE_PERSON, ...both, ...alone(first, "first"), ...alone(second, "second")] : both;
    at("notes").replaceChildren(...notes.map((note) => element("li", "", note)));
  } catch (error) {
    if (mine === latest) say(error instanceof TypeError ? "The server does not answer; is it still running?" : error.message, true);
  }
}

function later() {
  clearTimeout(timer);
  if (at("a").value.trim()) timer = setTimeout(predict, PAUSE);
}

function compare() {
  const two = at("compare").checked;
  document.querySelectorAll(".second").forEach((part) => { part.hidden = !two; });
  document.querySelectorAll(".wordings").forEach((part) => part.classList.toggle("two", two));
  at("label-a").textContent = two ? "The first wording" : "What they read";
  if (two && !at("b").value) at("b").value = at("a").value;
  later();
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
at("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); predict(); }
});
for (const id of ["demographics", "scale", "a", "b"]) at(id).addEventListener("input", later);
at("compare").addEventListener("change", compare);
at("example").addEventListener("change", () => {
  const chosen = examples[Number(at("example").value) - 1];
  if (!chosen) return;
  at("demographics").value = chosen.demographics;
  at("a").value = chosen.scenario;
  at("scale").value = "";
  if (at("compare").checked) at("b").value = chosen.scenario;
  predict();
});

call("api/model").then((about) => {
  at("model").textContent = about.model;
  at("fields").textContent = `Fields of the training data: ${about.fields.join(", ")}.`;
  examples = about.examples;
  examples.forEach((example, i) => {
    const option = element("option", "", example.title);
    option.value = i + 1;
    at("example").append(option);
  });
}).catch(() => say("The server does not answer; is it still running?", true));
