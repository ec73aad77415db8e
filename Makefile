# The commands of this project. Each is one line, so that Windows users can type it themselves.
.PHONY: run test quick check docs coverage lock

run: ## install what is missing, then start the server and the page
	python3 start.py

test: ## install what the tests need, then run all of them
	python3 start.py test

quick: ## the tests that need neither a browser nor the real model
	.venv/bin/python -m pytest -m "not browser and not real_model" -n 2 -q

check: ## lint, format and types, as the suite checks them
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

lock: ## newer versions into requirements/lock, kept if the suite passes
	python3 start.py lock

docs: ## write the generated pages of docs/ again
	.venv/bin/python -m modules.doc_tables

coverage: ## all tests, with the lines of modules/ and loaders/ they run
	.venv/bin/python -m pytest -n 3 -q --cov=modules --cov=loaders --cov-report=term:skip-covered
