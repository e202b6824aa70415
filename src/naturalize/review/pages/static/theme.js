// Sets the chosen theme before the page is painted; without a choice the system's holds.
const chosenTheme = localStorage.getItem("nz-theme");
if (chosenTheme) document.documentElement.dataset.theme = chosenTheme;
