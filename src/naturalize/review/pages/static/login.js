import { post } from "./api.js";

const form = document.getElementById("login");
const refused = document.getElementById("refused");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, password } = Object.fromEntries(new FormData(form));
  try {
    await post("login", { name, password });
    location.assign("/gallery");
  } catch (error) {
    refused.textContent = error.message;
    refused.hidden = false;
    form.elements.password.select();
  }
});
