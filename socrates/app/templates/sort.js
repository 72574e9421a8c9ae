// A click on a column's head (or Enter on it) sorts the table by the first number of each cell, else by its text.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const value = (row) => {
      const text = row.cells[column].textContent.trim().replaceAll("−", "-").replaceAll(",", "");
      const number = parseFloat(text.replace(/^[<>+ ]+/, ""));
      return isNaN(number) ? text : number;
    };
    const sort = () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      const order = (x, y) => (typeof x === typeof y ? sign * ((x > y) - (x < y)) : typeof x === "number" ? -1 : 1);
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => order(value(a), value(b))));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = sign > 0 ? "ascending" : "descending";
    };
    head.tabIndex = 0;
    head.onclick = sort;
    head.onkeydown = (event) => event.key === "Enter" && sort();
  });
}
