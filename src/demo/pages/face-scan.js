"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const post = (stage) => window.parent.postMessage(JSON.stringify({ stage }), "*");
  const scanMs = Number(document.body.dataset.scanMs);
  const began = performance.now();
  let recording = false;
  let timer = 0;

  // A timer and not an animation frame: a page in a hidden tab must come to its end too.
  const tick = () => {
    const done = scanMs > 0 ? Math.min(1, (performance.now() - began) / scanMs) : 1;
    const percent = Math.round(done * 100);
    at("ring").setAttribute("stroke-dashoffset", String(100 - percent));
    at("percent").setAttribute("aria-valuenow", String(percent));
    at("percent").textContent = `${percent} %`;
    if (!recording && done > 0.15) {
      recording = true;
      at("scan").classList.add("recording");
      at("stage").textContent = "Recording";
      post("RecordingStarted");
    }
    if (done === 1) {
      clearInterval(timer);
      at("scan").classList.remove("recording");
      at("stage").textContent = "Scan complete";
      at("continue").disabled = false;
      at("hint").textContent = "Continue hands the result to the app.";
      post("RecordingStopped");
    }
  };

  const close = (stages, text) => {
    clearInterval(timer);
    at("scan").classList.remove("recording");
    at("quit").disabled = true;
    at("continue").disabled = true;
    at("stage").textContent = text;
    at("hint").textContent = "For another scan this page must be loaded again.";
    stages.forEach(post);
  };

  at("continue").addEventListener("click", () => close(["FaceScanSuccessful", "Dismiss"], "Thank you"));
  at("quit").addEventListener("click", () => close(["Dismiss"], "Scan ended"));

  post("StartNewMeasurement");
  timer = setInterval(tick, 50);
})();
