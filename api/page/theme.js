// Runs before anything is drawn, so that a theme chosen before does not flash.
document.documentElement.dataset.theme = localStorage.getItem("tidemark-theme") ?? "auto";
