"use strict";
// One slide at a time, by keyboard, click or the address's #number; S opens the speaker's window,
// which shows the same slide with its notes. The two tell each other by messages, which works for
// files that were opened from a disk, too.
const slides = [...document.querySelectorAll(".slide")];
const isSpeaker = location.search === "?speaker";
let other = isSpeaker ? window.opener : null;
let at = 0;

function show(number, isTold) {
  at = Math.min(Math.max(number, 0), slides.length - 1);
  slides.forEach((slide, i) => slide.classList.toggle("on", i === at));
  history.replaceState(null, "", "#" + (at + 1));
  if (!isTold && other && !other.closed) other.postMessage({ slide: at }, "*");
  if (isSpeaker) {
    const next = slides[at + 1]?.querySelector("h1, h2");
    document.querySelector("#next").textContent = next ? next.textContent : "the end";
    scrollTo(0, 0);
  }
}

const KEYS = {
  ArrowRight: () => at + 1, ArrowDown: () => at + 1, PageDown: () => at + 1, " ": () => at + 1,
  ArrowLeft: () => at - 1, ArrowUp: () => at - 1, PageUp: () => at - 1,
  Home: () => 0, End: () => slides.length - 1,
};

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "s" && !isSpeaker) {
    other = open(location.href.split("#")[0] + "?speaker#" + (at + 1), "", "width=1100,height=800");
  } else if (event.key === "f") {
    document.documentElement.requestFullscreen();
  } else if (event.key in KEYS && !(event.target instanceof HTMLButtonElement)) {
    event.preventDefault();
    show(KEYS[event.key]());
  }
});
addEventListener("click", event => {
  if (!event.target.closest("a, button") && !isSpeaker) show(at + 1);
});
addEventListener("message", event => {
  if (event.source === other && Number.isInteger(event.data?.slide)) show(event.data.slide, true);
});
addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1));

document.body.classList.add("shows-one");
if (isSpeaker) {
  document.body.classList.add("speaker");
  document.body.insertAdjacentHTML("afterbegin",
    '<div id="speaker"><output id="clock">0:00</output><button type="button">Restart the clock' +
    '</button><span>Next: <b id="next"></b></span></div>');
  let started = Date.now();
  document.querySelector("#speaker button").onclick = () => { started = Date.now(); };
  setInterval(() => {
    const s = Math.floor((Date.now() - started) / 1000);
    document.querySelector("#clock").textContent =
      Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");
  }, 1000);
}
show(Number(location.hash.slice(1)) - 1 || 0);
