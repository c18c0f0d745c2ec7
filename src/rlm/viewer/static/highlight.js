"use strict";
// Python as coloured text: one expression that takes the source apart, so that nothing is lost and nothing is markup.

const highlight = (() => {
  const KEYWORDS = new Set(
    ("False None True and as assert async await break case class continue def del elif else except finally for from " +
      "global if import in is lambda match nonlocal not or pass raise return try while with yield").split(" "),
  );
  const GIVEN = new Set(
    ("context llm_query llm_query_batched rlm_query rlm_query_batched FINAL FINAL_VAR SHOW_VARS answer history budget").split(" "),
  );
  const TOKEN = new RegExp(
    [
      /(?<comment>#[^\n]*)/,
      /(?<string>[rRbBuUfF]{0,2}(?:"""(?:\\[^]|[^\\])*?(?:"""|$)|'''(?:\\[^]|[^\\])*?(?:'''|$)|"(?:\\[^]|[^"\\\n])*(?:"|(?=\n)|$)|'(?:\\[^]|[^'\\\n])*(?:'|(?=\n)|$)))/,
      /(?<number>\b(?:0[xXoObB][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?)\b)/,
      /(?<decorator>^[ \t]*@[\w.]+)/,
      /(?<word>[\p{L}_][\p{L}\p{N}_]*)/,
    ]
      .map((part) => part.source)
      .join("|"),
    "gmu",
  );
  const LONGEST = 100000;

  function code(source, words) {
    const holder = dom.el("code");
    const shown = source.slice(0, LONGEST);
    let at = 0;
    let before = "";
    for (const match of shown.matchAll(TOKEN)) {
      plain(holder, shown.slice(at, match.index), words);
      const kind = kindOf(match.groups, before);
      if (kind) {
        const token = dom.el("span", { class: kind });
        plain(token, match[0], words);
        holder.append(token);
      } else plain(holder, match[0], words);
      before = match.groups.word || "";
      at = match.index + match[0].length;
    }
    plain(holder, shown.slice(at), words);
    if (source.length > LONGEST) holder.append(`\n… ${dom.count(source.length - LONGEST)} more characters`);
    return dom.el("pre", { class: "code" }, holder);
  }

  function kindOf(groups, before) {
    if (groups.comment) return "c";
    if (groups.string) return "s";
    if (groups.number) return "n";
    if (groups.decorator) return "d";
    if (before === "def" || before === "class") return "f";
    if (KEYWORDS.has(groups.word)) return "k";
    return GIVEN.has(groups.word) ? "g" : "";
  }

  function plain(parent, text, words) {
    if (!text) return;
    const holder = dom.text(text, words);
    parent.append(...holder.childNodes);
  }

  return { code };
})();
