// Swagger UI over this service's own document. Where a token is needed, the session of the page counts here, too.

(async () => {
  const { root } = document.documentElement.dataset;
  const response = await fetch(`${root}/v1/openapi.json`);
  if (response.ok) {
    SwaggerUIBundle({ spec: await response.json(), dom_id: "#docs", deepLinking: true, docExpansion: "none", validatorUrl: null });
    return;
  }
  const link = document.createElement("a");
  link.href = `${root}/`;
  link.textContent = "Sign in on the page";
  document.getElementById("docs").append(link, " with a token first, then come back here.");
})();
