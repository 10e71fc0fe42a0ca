"""The site's pages that are made of the code, of headers and of stored results, and the links between all pages.

Nothing here is installed with the pack. `bash launch/docs.sh` builds the site, `mkdocs.yml` says with what.
"""
