// Replaces each drawing of the page by its interactive chart when it comes into view. Without this script, or
// where a chart fails, the drawing stays.
"use strict";
(() => {
  const NARROW_PX = 520;
  const SHORT_LABEL = "length(datum.label) > 17 ? slice(datum.label, 0, 7) + '…' + slice(datum.label, -9) : datum.label";
  const drawn = new Set();

  // Charts have the colours of the page, also in files that a reader saves from them.
  function withColours(text) {
    const styles = getComputedStyle(document.documentElement);
    return text.replace(/var\((--[a-z0-9]+)\)/g, (_, name) => styles.getPropertyValue(name).trim());
  }

  function narrow(spec) {
    const { y, color } = spec.encoding;
    if (y?.axis?.labelExpr) y.axis.labelExpr = SHORT_LABEL;
    if (color?.legend?.columns > 2) color.legend.columns = 2;
  }

  async function draw(figure) {
    const place = figure.querySelector(".live");
    figure.classList.add("drawn");
    try {
      const spec = JSON.parse(withColours(figure.querySelector("script").textContent));
      if (place.clientWidth < NARROW_PX) narrow(spec);
      await vegaEmbed(place, spec, {
        mode: "vega-lite",
        renderer: "svg",
        ast: true, // expressions are interpreted: the page's policy forbids eval
        actions: { export: true, source: false, compiled: false, editor: false },
        loader: { target: "_blank" },
        logLevel: vega.Error,
      });
      place.querySelector("summary")?.setAttribute("aria-label", "Save this chart");
      drawn.add(figure);
    } catch (error) {
      figure.classList.remove("drawn");
      console.error(error);
    }
  }

  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      observer.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll("figure.chart").forEach((figure) => observer.observe(figure));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
})();
