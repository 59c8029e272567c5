"""What `--help` prints."""

_FILTERS = """\
Filters: key=value, key!=value, 'key>value', 'key>=value', 'key<value', 'key<=value'; all must fit.
Quote those with < and >, which a shell takes for itself. Keys are
  run, model, state, note, sweep, started, ended, exit_code, host, path
  metrics, of result.json (of a run without one, the last of metrics.csv): val/f1, test/loss, seconds
  dotted keys of config.yaml: optimizer.lr, data.batch_size, tags
States: running, finished, failed, killed (also where the process is gone), pruned, prepared,
submitted, unreadable. In text * stands for any letters; tags=lm: lm is one of the tags; times are
UTC: 'started>2026-11-01' is after that day."""

GENERAL = """\
python -m src.runs COMMAND ...       the runs below outputs/, from their files alone

  ls [filters]        list runs              show RUN        all of one run on one screen
  best METRIC         the best run           diff A B        what differs, and whether it is chance
  tail RUN            follow a run           clean           delete runs; only shows them unless yes=true
  sync [RUN ...]      send runs to W&B       dashboard       the project's W&B workspace, as code

RUN is a folder, a name, or the only beginning or end of a name (its id); a job of a sweep is
<sweep>/<n>. python -m src.runs COMMAND --help tells the rest."""

HELP = {
    "ls": f"""\
python -m src.runs ls [folder] [filters] [sort=KEY] [columns=KEY,KEY] [limit=30|all]
                      [format=table|json|csv] [root=outputs] [sweeps=true]

  python -m src.runs ls
  python -m src.runs ls model=bilstm 'val/f1>0.9' sort=-val/f1
  python -m src.runs ls state=failed 'started>2026-11-01' columns=state,note
  python -m src.runs ls tags=lm 'optimizer.lr<=1e-3' columns=optimizer.lr,val/ppl
  python -m src.runs ls sweep=1a2b3c4d format=csv > runs.csv
  python -m src.runs ls sweeps=true

The newest come first; sort=KEY sorts upwards, sort=-KEY downwards. format=json and csv list all
runs and, without columns=, everything but the configuration.
{_FILTERS}""",
    "show": """\
python -m src.runs show RUN [root=outputs]

  python -m src.runs show 1a2b3c4d""",
    "diff": """\
python -m src.runs diff A B [root=outputs]

  python -m src.runs diff 1a2b3c4d 5e6f7a8b

Prints the config keys, versions and commit that differ, the metrics side by side, and whether the
difference in accuracy is more than chance: by McNemar's exact test on the rows that both have
predicted, of the test split if both have met it, else of val.""",
    "best": f"""\
python -m src.runs best METRIC [filters] [mode=min|max] [root=outputs]

  python -m src.runs best val/loss
  python -m src.runs best val/f1 model=bilstm tags=imdb

Prints the run with the best value in result.json and the commands to go on with. mode= is needed
only where the name does not tell: loss, ppl, bits, seconds and bytes are better small; acc, f1,
auroc, precision, recall and what is per second are better large.
{_FILTERS}""",
    "clean": f"""\
python -m src.runs clean [filters] [older=30d] [keep=N] [yes=true] [root=outputs]

  python -m src.runs clean state=failed
  python -m src.runs clean older=30d keep=3
  python -m src.runs clean older=30d keep=3 yes=true

Lists what would go and its bytes; yes=true deletes it. What always stays: runs that are running or
submitted; the best one (keep=N: the best N) by its monitor of each model and data, and of each
sweep; runs that others name in init_from, branch_from, resume or data.tokenizer; jobs of a sweep
under way; runs with foreign files, or links that lead out of their folder. Prepared and unreadable
runs go only with state=, jobs of an interrupted sweep only with sweep=.
{_FILTERS}""",
    "tail": """\
python -m src.runs tail RUN [every=50] [lines=10] [root=outputs]

  python -m src.runs tail 1a2b3c4d every=10

The last lines; then one line per validation and one of training per so many steps until the run
ends, and how it ended.""",
    "sync": """\
python -m src.runs sync [RUN ...] [root=outputs]

  python -m src.runs sync
  python -m src.runs sync 1a2b3c4d

Sends what the runs recorded for W&B, complete and once.""",
    "dashboard": """\
python -m src.runs dashboard ...

Creates the project's W&B workspace and report, or brings them up to date.""",
}
