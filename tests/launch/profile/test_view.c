/* The page that `tine trace --html` writes, in a browser without a window: what it draws, and what
 * keys, the mouse and the search do. A script is added to the page, which acts like a user, reads
 * the picture's pixels, and writes what it finds into the document, which the browser prints. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/launch/profile/job.h"
#include "tests/support/program.h"

static const char job[] = JOB_HEAD JOB_EVENTS JOB_END;

/* pixels(row, y): how many pixels of each colour the picture has y pixels below a row's top. */
static const char script[] =
    "<script>{\n"
    "const found = [], say = text => found.push(text);\n"
    "const press = (key, target) => (target || document.body).dispatchEvent(\n"
    "    new KeyboardEvent('keydown', {key, bubbles: true}));\n"
    "const click = (x, y) => ['pointerdown', 'pointerup'].forEach(type => {\n"
    "    const box = canvas.getBoundingClientRect();\n"
    "    canvas.dispatchEvent(new PointerEvent(type, {clientX: box.left + x, clientY: box.top + "
    "y,\n"
    "        pointerId: 1})); });\n"
    "canvas.setPointerCapture = () => {};\n"
    "const pixels = (row, y) => {\n"
    "  const line = context.getImageData(0, rows[row].top + y, canvas.width, 1).data, out = {};\n"
    "  for (let i = 0; i < line.length; i += 4) if (line[i + 3])\n"
    "    out[line.slice(i, i + 3)] = (out[line.slice(i, i + 3)] || 0) + 1;\n"
    "  return out; };\n"
    "const share = (row, y) => Math.round(20 * Math.max(0, ...Object.values(pixels(row, y))) /\n"
    "    canvas.width);\n"
    "try {\n"
    "draw();\n"
    "say('rows ' + [...document.querySelectorAll('#labels div')].map(d => d.textContent));\n"
    "say('at once ' + share(0, 4 - OVERLAP) + ' ' + share(0, OVERLAP / 2 + 8 - OVERLAP));\n"
    "say('wait ' + share(0, 4) + ' A ' + share(1, 4) + ' suspended ' +\n"
    "    share(1, rows[1].lanes.length * LANE + 5));\n"
    "press('w'); draw(); say('zoomed ' + (view.end - view.begin < end));\n"
    "say('exact ' + atOnce(620e3, 800e3) + ' ' + atOnce(300e3, 350e3) + ' ' + atOnce(0, 1e6));\n"
    "const begin = view.begin; press('d'); say('panned ' + (view.begin > begin));\n"
    "press('0'); draw(); say('all ' + (view.begin === 0 && view.end === end));\n"
    "canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -500, cancelable: true}));\n"
    "say('wheel ' + (view.end - view.begin < end)); fit();\n"
    "click(width * .2, rows[1].top + 8); draw();\n"
    "say('chosen ' + names[at(state.chosen, NAME)] + ' arrows ' + document.body.dataset.arrows);\n"
    "say(document.getElementById('details').textContent);\n"
    "const plain = JSON.stringify(pixels(1, 4)); press('Escape'); draw();\n"
    "$('search').value = 'c'; $('search').dispatchEvent(new Event('input')); draw();\n"
    "say('search ' + $('matches').textContent + ' faded ' + (plain !== JSON.stringify(pixels(1, "
    "4))));\n"
    "press('Enter', $('search')); say('next ' + names[at(state.chosen, NAME)]);\n"
    "const light = getComputedStyle(document.body).backgroundColor; $('theme').click();\n"
    "say('theme ' + (light !== getComputedStyle(document.body).backgroundColor));\n"
    "} catch (error) { say('failed: ' + error); }\n"
    "document.body.append(Object.assign(document.createElement('pre'),\n"
    "    {textContent: 'FOUND\\n' + found.join('\\n')}));\n"
    "}</script>\n";

static void expect(const char *dom, const char *text) {
    cr_expect(strstr(dom, text), "no \"%s\" in:\n%s", text, dom);
}

Test(view, the_page_draws_and_follows_the_user, .timeout = 120) {
    tine_program there = tine_program_run(10, "command -v chromium");
    bool missing = there.code != 0;
    tine_program_fini(&there);
    if (missing) cr_skip_test("chromium is not installed");
    char dir[] = "/tmp/tine-test-view-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/job.json", dir);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(job, f) >= 0 && fclose(f) == 0);
    snprintf(path, sizeof path, "%s/user.html", dir);
    f = fopen(path, "w");
    cr_assert(f && fputs(script, f) >= 0 && fclose(f) == 0);
    tine_program p = tine_program_run(
        100,
        "d=%s && $B/tine trace --html $d/page.html $d/job.json && cat $d/user.html >>$d/page.html "
        "&& "
        "HOME=$d chromium --headless --no-sandbox --disable-gpu --user-data-dir=$d/browser "
        "--window-size=1210,900 --dump-dom file://$d/page.html 2>$d/log | "
        "sed -n '/<pre>FOUND/,/<.pre>/p; /<body/p'; rm -r $d",
        dir);
    cr_assert_eq(p.code, 0, "%s", p.error);
    expect(p.out, "data-slices=\"10\"");
    expect(p.out, "data-tasks=\"3\"");
    expect(p.out, "rows tasks at once, of 2 workers,program,worker 1,worker 2\n");
    expect(p.out, "at once 4 15\n"); /* twentieths of 1 ms: 180 us two, 740 us one or two */
    expect(p.out, "wait 20 A 8 suspended 6\n");
    expect(p.out, "zoomed true\nexact 2 0 0.92\npanned true\nall true\nwheel true\n");
    expect(p.out, "chosen A arrows 2\n");
    expect(p.out,
           "task A, forked by the program at 5.000 µs, started 95.00 µs later, ran 380.0 µs in "
           "2 runs, and was waited for until 200.0 µs after its end; 5.00 kB");
    expect(p.out, "search 3 found faded true\n");
    expect(p.out, "next decode A\n");
    expect(p.out, "theme true");
    tine_program_fini(&p);
}
