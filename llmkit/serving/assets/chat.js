"use strict";
const $ = (id) => document.getElementById(id);
const { model, kind, task } = document.body.dataset;
const ABOUT = {
  chat: "Fine-tuned for conversations.",
  prompt: `Fine-tuned for ${task}: each message is an independent input.`,
  label: `Fine-tuned for ${task}: each message is labeled.`,
  text: "A language model that continues your text.",
};
const LABELS = { chat: "Message", prompt: "Input", label: "Input", text: "Text to continue" };
let history = [];
let running = null;

$("about").textContent = ABOUT[kind];
$("text-label").textContent = LABELS[kind];
if (kind === "label") document.querySelectorAll(".decoding").forEach((e) => { e.hidden = true; });

function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

function addTurn(role, who, text) {
  const turn = element("li", role);
  turn.append(element("span", "who", who), element("div", "said", text));
  $("turns").append(turn);
  $("turns").scrollTop = $("turns").scrollHeight;
  return turn;
}

function showError(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

function setRunning(controller) {
  running = controller;
  $("send").disabled = running !== null;
  $("stop").disabled = running === null;
}

function requestFor(text) {
  const body = { model, stream: true };
  if (kind === "text") body.prompt = text;
  else body.messages = kind === "chat" ? history : [{ role: "user", content: text }];
  if (kind !== "label") {
    if ($("temperature").value) body.temperature = Number($("temperature").value);
    if ($("length").value) body.max_tokens = Number($("length").value);
  }
  const headers = { "Content-Type": "application/json" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value.trim()}`;
  return {
    path: kind === "text" ? "/v1/completions" : "/v1/chat/completions",
    options: { method: "POST", headers, body: JSON.stringify(body) },
  };
}

async function explain(response) {
  if (response.status === 401) {
    document.querySelector("details").open = true;
    $("token").focus();
  }
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server returned status ${response.status}.`;
  }
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The connection closed before the answer was complete.");
    buffer += value;
    const events = buffer.split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const part = JSON.parse(data);
      if (part.error) throw new Error(part.error.message);
      yield part.choices[0];
    }
  }
}

function showProbabilities(turn, probabilities) {
  const table = element("table", "");
  const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  for (const [label, probability] of ranked) {
    const row = element("tr", "");
    const head = element("th", "", label);
    head.scope = "row";
    row.append(head, element("td", "", `${(100 * probability).toFixed(1)} %`));
    table.append(row);
  }
  turn.append(table);
}

async function receive(response, turn) {
  const said = turn.querySelector(".said");
  const target = kind === "text" ? said.appendChild(element("span", "new")) : said;
  for await (const choice of eventsOf(response)) {
    const log = $("turns");
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    target.textContent += choice.text ?? choice.delta?.content ?? "";
    if (choice.probabilities) showProbabilities(turn, choice.probabilities);
    if (choice.finish_reason === "length") turn.append(element("span", "note", "Truncated at the maximum number of new tokens (see Settings)."));
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }
  return said.textContent;
}

async function ask(text) {
  showError("");
  setRunning(new AbortController());
  const { signal } = running;
  const conversation = history; // Reset assigns a new array
  if (kind === "chat") conversation.push({ role: "user", content: text });
  const mine = kind === "text" ? null : addTurn("user", "You", text);
  const turn = addTurn(kind === "text" ? "text" : "model", model, kind === "text" ? text : "");
  turn.classList.add("working");
  $("turns").setAttribute("aria-busy", "true");
  let answer = "";
  try {
    const { path, options } = requestFor(text);
    const response = await fetch(path, { ...options, signal });
    if (!response.ok) throw new Error(await explain(response));
    answer = await receive(response, turn);
    $("status").textContent = "Answer complete.";
  } catch (error) {
    answer = kind === "text" ? "" : turn.querySelector(".said").textContent;
    if (signal.aborted) turn.append(element("span", "note", "Stopped."));
    else showError(error instanceof TypeError ? "Cannot reach the server." : error.message);
    if (!answer && !signal.aborted) {
      turn.remove();
      mine?.remove();
      $("text").value ||= text;
    }
  } finally {
    turn.classList.remove("working");
    $("turns").removeAttribute("aria-busy");
    if (kind === "chat") {
      if (answer) conversation.push({ role: "assistant", content: answer });
      else conversation.pop();
    }
    if (running?.signal === signal) setRunning(null);
  }
}

function reset() {
  running?.abort();
  history = [];
  $("turns").replaceChildren();
  showError("");
  $("text").focus();
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (running || !text.trim()) return;
  $("text").value = "";
  ask(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
});
$("stop").addEventListener("click", () => running?.abort());
$("reset").addEventListener("click", reset);
