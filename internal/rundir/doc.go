// Package rundir is the folder of a run: its names, its lock, the heartbeat, the list of starts and stops, the statistics
// file, and the switch files that people touch.
//
//	config.yaml  run.json  status.json  lock  log.txt  log.jsonl  stats.jsonl  STOP  SAVE
//	tb/  grids/  states/  snapshots/  eval/  evidence/
//
// A trainer calls [Create] and then [Dir.Lock]; whoever only reads calls [Open], which changes nothing on disk. The folder
// is private to its user. Nothing is written through a symbolic link that leads out of it; states and snapshots may not be
// links at all; and files that are not named here are left alone. What is read back (lock, run.json, stats.jsonl) may be torn or garbage and is treated so.
//
//	run, err := rundir.Create("runs/a")
//	unlock, err := run.Lock()
//	defer unlock()
//	run.AppendStart(rundir.Start{Build: commit, Device: "cpu", World: 1, Command: os.Args})
package rundir
