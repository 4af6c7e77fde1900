# Reads the texts of --help, each after a line "= COMMAND" ("= winnow": the program's own), and writes
# a manual page, or a completion for bash or zsh: kind is man, bash or zsh. See help_pages.sh.
#
#   Group:
#     -s,--long VALUE    text of the option,
#                        which may go on

# ---- what every kind needs: the options, one number each ----

# Takes the option of a line: its names and the name of its value; its text comes later.
function begin_option(line,    words) {
  n++
  command_of[n] = command
  group_of[n] = group
  text_of[n] = line
  if (!sub(/^  -[^ ]+( [^ ]+)?( +|$)/, "", text_of[n])) print "not an option: " line > "/dev/stderr"
  split(line, words, " ")
  names_of[n] = words[1]
  value_of[n] = line ~ /^  -[^ ]+ [^ ]/ ? words[2] : ""
}

function end_options(    i, list) {
  for (i = 1; i <= n; i++) {
    choices_of[i] = value_of[i] ~ /^[a-z-]+(\|[a-z-]+)+$/ ? value_of[i] : ""
    gsub(/\|/, " ", choices_of[i])
    if (text_of[i] !~ /: [a-z0-9-]+(, [a-z0-9-]+)+ \(default/) continue  # "kept: full, sage (default ..)"
    list = text_of[i]
    sub(/ \(default.*/, "", list)
    sub(/.*: /, "", list)
    gsub(/,/, "", list)
    choices_of[i] = list
  }
}

/^= / { command = $2; commands[++n_commands] = command; part = "about"; group = ""; next }
/^Usage:/ { usage[command] = $0; part = "options"; next }
/^Exit codes:/ { part = "exit"; next }
part == "about" {
  about[command] = about[command] $0 "\n"
  if ($1 == "winnow" && $2 == command && $5 ~ /^[a-z]/) words_of[command] = words_of[command] " " $5
}
part == "options" && /^Commands:/ { part = "commands"; next }
part == "options" && /^[^ ].*:$/ { group = substr($0, 1, length($0) - 1); next }
part == "options" && /^  -/ { begin_option($0); next }
part == "options" && NF > 0 { sub(/^ +/, " "); text_of[n] = text_of[n] $0 }
part == "exit" && command == "winnow" && NF > 0 {
  code = $1
  sub(/^ *[0-9]+ +/, "")
  exits = exits ".TP\n" code "\n" roff($0) "\n"
}

END {
  for (i = 1; i <= n; i++) sub(/^ +/, "", text_of[i])
  end_options()
  if (kind == "man") write_man()
  if (kind == "bash") write_bash()
  if (kind == "zsh") write_zsh()
}

# ---- man ----

function roff(text) {
  gsub(/\\/, "\\e", text)
  gsub(/-/, "\\-", text)
  if (text ~ /^[.']/) text = "\\&" text
  return text
}

# A paragraph; lines that are set in stay as they are.
function roff_about(text,    lines, count, i, literal) {
  count = split(text, lines, "\n")
  for (i = 1; i < count; i++) {
    if (lines[i] == "") continue
    if ((lines[i] ~ /^ /) != literal) {
      literal = !literal
      print literal ? ".PP\n.nf" : ".fi"
    }
    print roff(lines[i])
  }
  if (literal) print ".fi"
}

function roff_options(name,    i, group_now, names) {
  for (i = 1; i <= n; i++) {
    if (command_of[i] != name) continue
    if (name != "winnow" && names_of[i] ~ /--(help|version)$/) continue
    if (name != "winnow" && group_of[i] != group_now) print ".PP\n.I " roff(group_of[i])
    group_now = group_of[i]
    names = names_of[i]
    gsub(/,/, ", ", names)
    print ".TP\n.B " roff(names) (value_of[i] == "" ? "" : "\\fR \\fI" roff(value_of[i]) "\\fR")
    print roff(text_of[i])
  }
}

function write_man(    i) {
  print ".\\\" Made by tools/help_pages.sh out of winnow --help."
  print ".TH WINNOW 1 \"\" \"" version "\" \"User Commands\""
  print ".SH NAME\nwinnow \\- generates text with Llama\\-family models"
  print ".SH SYNOPSIS\n.B winnow\n.I COMMAND\n.RI [ OPTIONS ]"
  print ".SH DESCRIPTION"
  roff_about(about["winnow"])
  print ".SH OPTIONS"
  roff_options("winnow")
  print ".SH COMMANDS"
  for (i = 2; i <= n_commands; i++) {
    print ".SS winnow " commands[i]
    roff_about(about[commands[i]])
    roff_options(commands[i])
  }
  printf ".SH EXIT STATUS\n%s", exits
}

# ---- bash ----

# The command that prints what can become of $1 as the value of option i.
function bash_value(i) {
  if (choices_of[i] != "") return "compgen -W '" choices_of[i] "' -- \"$1\""
  if (value_of[i] ~ /^DIR/) return "compgen -d -- \"$1\""
  if (value_of[i] ~ /^FILE/) return "compgen -f -- \"$1\""
  return ":"
}

# The long names of a command's options, and its words.
function long_names(name,    i, j, count, list, names) {
  for (i = 1; i <= n; i++) {
    if (command_of[i] != name) continue
    count = split(names_of[i], names, ",")
    for (j = 1; j <= count; j++) if (names[j] ~ /^--/) list = list " " names[j]
  }
  return substr(list words_of[name], 2)
}

function write_bash(    c, i, names, all) {
  for (c = 2; c <= n_commands; c++) all = all (c > 2 ? " " : "") commands[c]
  print "# bash completion of winnow. Made by tools/help_pages.sh out of winnow --help."
  print ""
  print "# _winnow_value WORD COMMAND OPTION: prints what WORD can become as the option's value; fails"
  print "# where the command has no such option, or one without a value."
  print "_winnow_value() {"
  print "  case \"$2 $3\" in"
  for (i = 1; i <= n; i++) {
    if (value_of[i] == "") continue
    names = "'" command_of[i] " " names_of[i] "'"
    gsub(/,/, "' | '" command_of[i] " ", names)
    print "    " names ") " bash_value(i) " ;;"
  }
  print "    *) return 1 ;;\n  esac\n  return 0\n}\n"
  print "# _winnow_words COMMAND: its options and words; of winnow itself, the commands."
  print "_winnow_words() {\n  case $1 in"
  print "    winnow) echo '" all " " long_names("winnow") "' ;;"
  for (c = 2; c <= n_commands; c++) {
    print "    " commands[c] ") echo '" long_names(commands[c]) "' ;;"
  }
  print "  esac\n}\n"
  print "_winnow() {"
  print "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}"
  print "  local command=winnow i found"
  print "  for ((i = 1; i < COMP_CWORD; i++)); do"
  print "    if [[ ' " all " ' == *\" ${COMP_WORDS[i]} \"* ]]; then"
  print "      command=${COMP_WORDS[i]}"
  print "      break"
  print "    fi"
  print "  done"
  print "  # bash makes three words of --name=VALUE."
  print "  if [[ $word == = ]]; then\n    word="
  print "  elif [[ $before == = ]]; then\n    before=${COMP_WORDS[COMP_CWORD - 2]}\n  fi"
  print "  if ! found=$(_winnow_value \"$word\" \"$command\" \"$before\"); then"
  print "    found=$(compgen -W \"$(_winnow_words \"$command\")\" -- \"$word\")"
  print "  fi"
  print "  COMPREPLY=()"
  print "  if [[ -n $found ]]; then mapfile -t COMPREPLY <<<\"$found\"; fi"
  print "}"
  print "complete -o filenames -F _winnow winnow"
}

# ---- zsh ----

function zsh_text(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/\[/, "\\[", text)
  gsub(/\]/, "\\]", text)
  gsub(/:/, "\\:", text)
  gsub(/'/, "'\\''", text)
  return text
}

# ":VALUE:what completes it", or nothing for a flag.
function zsh_value(i,    action) {
  if (value_of[i] == "") return ""
  action = " "
  if (value_of[i] ~ /^FILE/) action = "_files"
  if (value_of[i] ~ /^DIR/) action = "_files -/"
  if (choices_of[i] != "") action = "(" choices_of[i] ")"
  return ":" zsh_text(value_of[i]) ":" action
}

# A line for _arguments: '(-m --model)'{-m+,--model=}'[text]:DIR:_files -/'
function zsh_option(i,    j, count, names, once, forms) {
  count = split(names_of[i], names, ",")
  for (j = 1; j <= count; j++) {
    once = once (j > 1 ? " " : "") names[j]
    forms = forms (j > 1 ? "," : "") names[j]
    if (value_of[i] != "") forms = forms (names[j] ~ /^--/ ? "=" : "+")
  }
  if (text_of[i] ~ /repeated|-vv/) once = "*"
  else once = "(" once ")"
  forms = count > 1 ? "'" once "'{" forms "}'" : "'" once forms
  return forms "[" zsh_text(text_of[i]) "]" zsh_value(i) "'"
}

function zsh_options(name,    i) {
  for (i = 1; i <= n; i++) if (command_of[i] == name) print "        " zsh_option(i) " \\"
}

function write_zsh(    c, all, first, words) {
  print "#compdef winnow"
  print "# Made by tools/help_pages.sh out of winnow --help."
  print ""
  print "_winnow_commands() {\n  local -a commands=("
  for (c = 2; c <= n_commands; c++) {
    all = all (c > 2 ? "|" : "") commands[c]
    first = about[commands[c]]
    sub(/\n.*/, "", first)
    print "    '" commands[c] ":" zsh_text(first) "'"
  }
  print "  )\n  _describe command commands\n}\n"
  print "_winnow() {\n  local word command"
  print "  for word in ${words[2,CURRENT-1]}; do"
  print "    case $word in\n      " all ") command=$word; break ;;\n    esac\n  done"
  print "  case $command in"
  for (c = 2; c <= n_commands; c++) {
    print "    " commands[c] ")\n      _arguments -s \\"
    zsh_options(commands[c])
    words = words_of[commands[c]] == "" ? "" : " '*:what:(" substr(words_of[commands[c]], 2) ")'"
    print "        '1:command:(" commands[c] ")'" words " ;;"
  }
  print "    *)\n      _arguments -s \\"
  zsh_options("winnow")
  print "        '1:command:_winnow_commands' ;;\n  esac\n}\n\n_winnow \"$@\""
}
