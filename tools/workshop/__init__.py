"""The workshop kit: slides, a handout, a cheat sheet, an answer sheet and its key.

``python -m workshop OUT`` writes them into a folder. Nothing is drawn or computed for it:
questions, answers, figures, drawings and seconds are read from the committed notebooks, so that
what is shown in class is what participants see. Every page is one file without anything from
another host.

::

    reading     predictions, figures, drawings, seconds, of the executed notebooks
    pages       Markdown with directives -> a page of HTML
    slides      slides.md -> a deck for each length of a class; slides.css, slides.js
    sheets      handout.md, docs/cheat_sheet.md, the answer sheet, the answer key; sheets.css
    printing    HTML -> PDF, by Chromium
    kit         all pages into a folder, and a page that lists them
"""
