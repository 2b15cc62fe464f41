// What a page shows of its data. So far the tables that stand in the page are left as they are.

function render({ model, el }) {
  el.textContent = model.get("data").title;
}

export default { render };
