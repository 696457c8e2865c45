// What is not as it should be: rows that are set aside, and what `verify` found last.

import { byId, element, reconcile, setAttribute, setText } from "./dom.js";
import { ago, count, moment, plural, words } from "./format.js";

const STATUS = { open: "quarantined", conflict: "in conflict" };

/** A group of rows that can be opened to see some of their keys. */
function makeReason(total, readKeys) {
  const keys = element("p", { class: "keys-shown" });
  const group = element(
    "details",
    {},
    element(
      "summary",
      {},
      element(
        "span",
        { class: "reason-line" },
        element("strong", { class: "entity" }),
        element("span", { class: "badge" }),
        element("span", { class: "grow" }),
        element("span", { class: "number" }),
      ),
      element("span", { class: "reason" }),
    ),
    keys,
  );
  group.addEventListener("toggle", async () => {
    if (!group.open) return;
    setText(keys, "…");
    try {
      const rows = await readKeys(total);
      const written = rows.map(({ key }) => element("code", {}, key.length === 1 ? String(key[0]) : JSON.stringify(key)));
      const more = Number(group.dataset.rows) > rows.length ? [element("span", {}, "and more: "), element("code", {}, `diffmig quarantine list --entity ${total.entity}`)] : [];
      keys.replaceChildren(element("span", {}, "keys: "), ...[...written, ...more].flatMap((node) => [node, " "]));
    } catch (error) {
      setText(keys, error.message);
    }
  });
  return element("li", {}, group);
}

function updateReason(item, total) {
  setText(item.querySelector(".entity"), total.entity);
  setText(item.querySelector(".badge"), STATUS[total.status] ?? words(total.status));
  setAttribute(item.querySelector(".badge"), "data-state", total.status);
  item.firstElementChild.dataset.rows = total.rows;
  setText(item.querySelector(".number"), plural(total.rows, "row"));
  setText(item.querySelector(".reason"), `${total.reason} (${total.sqlstate})`);
}

/** Shows how many rows are set aside, by entity and reason; `readKeys(total)` brings some rows of a group. */
export function showQuarantine(totals, readKeys) {
  const place = byId("quarantine");
  const rows = totals.reduce((sum, total) => sum + total.rows, 0);
  setText(byId("quarantine-note"), rows > 0 ? `${plural(rows, "row")} in ${plural(totals.length, "group")}` : "");
  if (totals.length === 0) {
    place.replaceChildren(element("p", { class: "empty" }, "No row is set aside."));
    return;
  }
  if (place.firstElementChild?.tagName !== "UL") place.replaceChildren(element("ul", { class: "reasons", "aria-labelledby": "quarantine-title" }));
  const sorted = [...totals].sort((one, other) => other.rows - one.rows);
  const key = (total) => [total.entity, total.status, total.sqlstate, total.reason].join("\u0000");
  reconcile(place.firstElementChild, sorted, key, (total) => makeReason(total, readKeys), updateReason);
}

function verified(entities) {
  const head = ["Entity", "Equal", "Missing", "Differs", "Extra", "Set aside"];
  const cells = (it) => [it.equal, it.missing, it.mismatching, it.extraneous, it.setAside];
  const line = (it) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", class: "name" }, it.entity),
      ...cells(it).map((value, at) =>
        element("td", { class: "number", "data-tone": at > 0 && value > 0 ? "warn" : null }, value > 0 ? count(value) : "–"),
      ),
    );
  return element(
    "table",
    { class: "verified" },
    element("thead", {}, element("tr", {}, ...head.map((title, at) => element("th", { scope: "col", class: at > 0 ? "number" : "name" }, title)))),
    element("tbody", {}, ...entities.map(line)),
  );
}

/** Shows the last verification, or that there was none. */
export function showVerification(found) {
  const place = byId("verification");
  const wanted = JSON.stringify(found);
  if (place.dataset.shown !== wanted) {
    place.dataset.shown = wanted;
    if (!found) {
      place.replaceChildren(element("p", { class: "empty" }, "Nothing was verified yet: ", element("code", {}, "diffmig verify")));
    } else {
      const differing = (it) => it.missing + it.mismatching + it.extraneous;
      const amiss = found.entities.filter((it) => differing(it) + it.setAside > 0);
      amiss.sort((one, other) => differing(other) - differing(one) || other.setAside - one.setAside);
      const equal = found.entities.reduce((sum, it) => sum + it.equal, 0);
      const differ = found.entities.reduce((sum, it) => sum + differing(it), 0);
      const aside = found.entities.reduce((sum, it) => sum + it.setAside, 0);
      const verdict = differ > 0 ? `${plural(differ, "row")} differ` : aside > 0 ? "no difference, but rows are set aside" : "the target is what the mapping says";
      place.replaceChildren(
        element("p", { class: "verdict" }, element("span", { class: "badge", "data-state": differ > 0 ? "failed" : aside > 0 ? "held" : "completed" }, verdict)),
        element("p", { class: "meta" }, `${plural(equal, "row")} proved equal in ${plural(found.entities.length, "entity", "entities")}${found.sample === null ? "" : `, of a sample of ${found.sample} %`}`),
        amiss.length > 0 ? element("div", { class: "verified-frame", tabindex: 0, role: "group", "aria-labelledby": "verification-title" }, verified(amiss)) : "",
      );
    }
  }
  const at = found && new Date(found.verifiedAt);
  setText(byId("verification-note"), at ? `${ago(at)}, ${moment(at)}` : "");
}
