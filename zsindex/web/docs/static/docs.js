// Swagger UI over this service's own document. Where a token is needed, the session of the page counts here, too; else
// "Authorize" takes a token once the document is there.
SwaggerUIBundle({
  url: `${document.documentElement.dataset.root}/v1/openapi.json`,
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: "none",
  tryItOutEnabled: true,
  validatorUrl: null,
});
