// A classic script that runs before the first paint: language, direction and theme, so that nothing flashes. Settings that
// can't be stored (a private window) last as long as the page.
{
  const stored = (name) => {
    try {
      return localStorage.getItem(`tasnif.${name}`);
    } catch {
      return null;
    }
  };
  const preferred = navigator.languages?.find((language) => /^(ar|en)\b/i.test(language)) ?? "en";
  const lang = stored("lang") ?? preferred.slice(0, 2).toLowerCase();
  const root = document.documentElement;
  root.lang = lang === "ar" ? "ar" : "en";
  root.dir = root.lang === "ar" ? "rtl" : "ltr";
  root.dataset.theme = ["light", "dark"].includes(stored("theme")) ? stored("theme") : "auto";
}
