// Package disk is what data and checkpoint need of files beyond package os: errors where reading a mapped file would be a crash,
// and renames that last.
package disk
