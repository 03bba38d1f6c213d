#include "common/command_line/command_line_manual.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/command_line/command_line_errors.h"

namespace denoised {
namespace {

constexpr size_t kHelpColumns = 79, kNameColumns = 30;

// The words in lines of at most `width`, unless one word is longer, each indented by `indent`.
std::string Wrapped(const std::string& text, size_t indent, size_t width) {
  std::string lines, line;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, ' ', absl::SkipEmpty()))) {
    if (!line.empty() && line.size() + 1 + word.size() > width) {
      absl::StrAppend(&lines, std::string(indent, ' '), line, "\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  return absl::StrCat(lines, std::string(indent, ' '), line, "\n");
}

// CLI11 writes choices as "TEXT:{auto,cpu}".
std::vector<std::string> ChoicesOf(const std::string& type) {
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  std::vector<std::string> choices = absl::StrSplit(type.substr(open + 1, close - open - 1), ',');
  for (std::string& choice : choices) choice = choice.substr(0, choice.find("->"));
  return choices;
}

// And ranges as "INT:INT in [1 - 9]", which are ", 1 to 9" here.
std::string RangeOf(const std::string& type) {
  const size_t range = type.find(" in [");
  return range == std::string::npos ? "" : ", " + RangeInWords(type.substr(range + 4));
}

std::string TypeText(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const bool number = type.rfind("INT", 0) == 0 || type.rfind("UINT", 0) == 0 || type.rfind("FLOAT", 0) == 0;
  return number ? "NUMBER" : type.substr(0, type.find(':'));
}

// "--wait[=NUMBER], 0 to 86400" for a flag that CLI11 calls "--wait{60}", with a value that may be left out, and
// "--verify_data,--noverify_data" for "--verify_data,--noverify_data{false}".
std::string FlagName(const CLI::Option& option) {
  std::vector<std::string> names = absl::StrSplit(option.get_name(false, true), ',');
  std::string value;
  for (std::string& name : names) {
    const size_t brace = name.find('{');
    if (brace == std::string::npos) continue;
    if (name.substr(brace) != "{false}") value = "[=NUMBER]" + RangeOf(option.get_type_name());
    name.erase(brace);
  }
  return absl::StrJoin(names, ",") + value;
}

// CLI11 has several values in brackets, and none as "[]".
std::string InitialOf(const CLI::Option& option) {
  return absl::StrReplaceAll(option.get_default_str(), {{"[", ""}, {"]", ""}});
}

// " NUMBER, 1 to 1024 [0]"
std::string ValueText(const CLI::Option& option) {
  if (option.get_type_size() == 0 || absl::StrContains(option.get_name(false, true), "{")) return "";
  const std::vector<std::string> choices = ChoicesOf(option.get_type_name());
  std::string text =
      choices.empty() ? absl::StrCat(" ", TypeText(option)) : absl::StrCat(" {", absl::StrJoin(choices, ","), "}");
  if (option.get_expected_max() == CLI::detail::expected_max_vector_size) text += "...";
  text += RangeOf(option.get_type_name());
  const std::string initial = InitialOf(option);
  return initial.empty() ? text : absl::StrCat(text, " [", initial, "]");
}

std::string NamesOf(const std::set<CLI::Option*>& options) {
  return absl::StrJoin(options, " ", [](std::string* out, const CLI::Option* option) { *out += option->get_name(); });
}

class WrappingFormatter : public CLI::Formatter {
 public:
  // The name in a column of its own, where it fits, and the description beside or below it.
  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    const std::string name =
        is_positional ? option->get_type_name() : absl::StrCat(FlagName(*option), ValueText(*option));
    return Beside(Wrapped(name + make_option_opts(option), 2, kHelpColumns - 2), make_option_desc(option));
  }
  // Behind the value.
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text;
    if (!option->get_envname().empty()) absl::StrAppend(&text, " (Env:", option->get_envname(), ")");
    if (!option->get_needs().empty()) absl::StrAppend(&text, " Needs: ", NamesOf(option->get_needs()));
    if (!option->get_excludes().empty()) absl::StrAppend(&text, " Excludes: ", NamesOf(option->get_excludes()));
    return text;
  }
  std::string make_option_usage(const CLI::Option* option) const override {
    return absl::StrCat("[", option->get_type_name(), "]");
  }
  std::string make_subcommand(const CLI::App* subcommand) const override {
    return Beside(Wrapped(subcommand->get_name(), 2, kHelpColumns), subcommand->get_description());
  }
  std::string make_description(const CLI::App* app) const override {
    return Wrapped(app->get_description(), 0, kHelpColumns);
  }

 private:
  static std::string Beside(const std::string& name, const std::string& text) {
    std::string help = Wrapped(text, kNameColumns, kHelpColumns - kNameColumns);
    if (name.size() > kNameColumns) return name + help;
    return help.replace(0, name.size() - 1, name.substr(0, name.size() - 1));
  }
};

// What there is to say of a flag, or of a positional where `name` has no hyphens.
struct Flag {
  std::string name;     // "--sampler"
  std::string value;    // "NUMBER", empty for a flag without one
  std::string help;     // its description
  std::string initial;  // its default, where the description does not say it
  std::string variable;
  std::vector<std::string> choices;
};

std::string ValueName(const CLI::Option& option, const std::vector<std::string>& choices) {
  if (option.get_items_expected_max() == 0) return "";
  if (!choices.empty()) return absl::StrJoin(choices, "|");
  return TypeText(option) == "NUMBER" ? "NUMBER" : "TEXT";
}

// "--sampler", or of an option that is a positional alone its value's name, "CLASS".
std::string NameOf(const CLI::Option& option) {
  if (!option.get_lnames().empty()) return absl::StrCat("--", option.get_lnames()[0]);
  return option.get_positional() ? option.get_type_name() : option.get_single_name();
}

std::vector<Flag> FlagsOf(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    const std::vector<std::string> choices = ChoicesOf(option->get_type_name());
    flags.push_back({.name = NameOf(*option),
                     .value = ValueName(*option, choices),
                     .help = option->get_description(),
                     .initial = InitialOf(*option),
                     .variable = option->get_envname(),
                     .choices = choices});
  }
  return flags;
}

std::vector<const CLI::App*> SubcommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// ---- troff ----

std::string Troff(const std::string& text) { return absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}}); }

// A line that begins with a full stop or an apostrophe would be a request.
std::string WithoutRequests(const std::string& lines) {
  return absl::StrReplaceAll("\n" + lines, {{"\n.", "\n\\&."}, {"\n'", "\n\\&'"}}).substr(1);
}

// A paragraph, in lines that are not too long to be read as they are.
std::string Paragraph(const std::string& text) {
  constexpr size_t kSourceColumns = 78;
  return WithoutRequests(Wrapped(Troff(text), 0, kSourceColumns));
}

std::string ManualOf(const Flag& flag) {
  std::string text = absl::StrCat(".TP\n\\fB", Troff(flag.name), "\\fR");
  if (!flag.value.empty()) absl::StrAppend(&text, " \\fI", Troff(flag.value), "\\fR");
  absl::StrAppend(&text, "\n", Paragraph(flag.help + "."));
  if (!flag.initial.empty()) text += Paragraph(absl::StrCat("Default: ", flag.initial, "."));
  if (!flag.variable.empty()) text += Paragraph(absl::StrCat("Environment: ", flag.variable, "."));
  return text;
}

std::string OptionsPart(const CLI::App& app, const std::string& title) {
  std::string text = absl::StrCat(".SH ", Troff(title), "\n");
  if (title != "OPTIONS") text += Paragraph(app.get_description() + ".");
  for (const Flag& flag : FlagsOf(app)) text += ManualOf(flag);
  return text;
}

// "denoise 7    draws a seven", a command and what it is for; or more of that, where it stands further to the right.
std::string ExampleOf(const std::string& line) {
  constexpr size_t kIndent = 2;
  const size_t begin = line.find_first_not_of(' '), end = line.find("  ", begin);
  const std::string rest = end == std::string::npos ? "" : line.substr(end);
  if (begin > kIndent) return Paragraph(line);
  return absl::StrCat(".TP\n\\fB", Troff(line.substr(begin, end - begin)), "\\fR\n",
                      rest.empty() ? "" : Paragraph(rest));
}

// Lines that begin with blanks are examples; others are prose, in which one that ends in a full stop or a colon ends a
// paragraph.
std::string FooterPart(const CLI::App& app) {
  std::string text, prose;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(app.get_footer(), '\n', absl::SkipEmpty()))) {
    if (line[0] == ' ') {
      text += ExampleOf(line);
      continue;
    }
    absl::StrAppend(&prose, prose.empty() ? "" : " ", line);
    if (line.back() != '.' && line.back() != ':') continue;
    absl::StrAppend(&text, ".PP\n", Paragraph(prose));
    prose.clear();
  }
  return prose.empty() ? text : absl::StrCat(text, ".PP\n", Paragraph(prose));
}

// " [CLASS]"
std::string PositionalsOf(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) absl::StrAppend(&text, " [\\fI", Troff(option->get_type_name()), "\\fR]");
  }
  return text;
}

// ---- shells ----

// Within single quotes of a POSIX shell.
std::string Quoted(const std::string& text) { return absl::StrReplaceAll(text, {{"'", "'\\''"}}); }

struct Words {
  std::vector<Flag> flags;  // of the program and its subcommands
  std::vector<std::string> subcommands;
};

Words WordsOf(const CLI::App& app) {
  Words words = {.flags = FlagsOf(app), .subcommands = {}};
  for (const CLI::App* subcommand : SubcommandsOf(app)) {
    words.subcommands.push_back(subcommand->get_name());
    for (const Flag& flag : FlagsOf(*subcommand)) {
      if (flag.name != "--help") words.flags.push_back(flag);
    }
  }
  std::erase_if(words.flags, [](const Flag& flag) { return flag.name[0] != '-'; });
  return words;
}

std::string BashCompletions(const std::string& program, const Words& words) {
  std::string names, choices;
  for (const Flag& flag : words.flags) {
    absl::StrAppend(&names, names.empty() ? "" : " ", flag.name);
    if (flag.choices.empty()) continue;
    absl::StrAppend(&choices, "    ", flag.name, ") COMPREPLY=($(compgen -W '",
                    Quoted(absl::StrJoin(flag.choices, " ")), "' -- \"$word\")); return ;;\n");
  }
  const std::string function = absl::StrCat("_", absl::StrReplaceAll(program, {{"-", "_"}}));
  return absl::StrCat("# bash completion for ", program, ", made by ", program, " --print_completions bash\n", function,
                      "() {\n"
                      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
                      "  [[ $word == = ]] && word=\n"
                      "  [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}\n"
                      "  COMPREPLY=()\n"
                      "  case $before in\n",
                      choices,
                      "  esac\n"
                      "  if [[ $word == -* ]]; then\n"
                      "    COMPREPLY=($(compgen -W '",
                      names,
                      "' -- \"$word\"))\n"
                      "  elif ((COMP_CWORD == 1)); then\n"
                      "    COMPREPLY=($(compgen -W '",
                      absl::StrJoin(words.subcommands, " "),
                      "' -- \"$word\"))\n"
                      "  fi\n"
                      "}\n"
                      "complete -o default -F ",
                      function, " ", program, "\n");
}

std::string ZshCompletions(const std::string& program, const Words& words) {
  std::string text = absl::StrCat("#compdef ", program, "\n_arguments \\\n");
  for (const Flag& flag : words.flags) {
    const std::string help = absl::StrReplaceAll(Quoted(flag.help), {{"[", "("}, {"]", ")"}, {":", "\\:"}});
    absl::StrAppend(&text, "  '", flag.name, flag.value.empty() ? "" : "=", "[", help, "]");
    if (!flag.choices.empty()) {
      absl::StrAppend(&text, ":value:(", absl::StrJoin(flag.choices, " "), ")");
    } else if (!flag.value.empty()) {
      absl::StrAppend(&text, ":", absl::AsciiStrToLower(flag.value), ":", flag.value == "TEXT" ? "_files" : " ");
    }
    absl::StrAppend(&text, "' \\\n");
  }
  return absl::StrCat(text, "  '1:command:(", absl::StrJoin(words.subcommands, " "), ")'\n");
}

// Files only where a flag's value may be one: nothing else of these programs is.
std::string FishCompletions(const std::string& program, const Words& words) {
  std::string text = absl::StrCat("complete -c ", program, " -f\n");
  for (const std::string& subcommand : words.subcommands) {
    absl::StrAppend(&text, "complete -c ", program, " -n __fish_use_subcommand -a ", subcommand, "\n");
  }
  for (const Flag& flag : words.flags) {
    const std::string help = absl::StrReplaceAll(flag.help, {{"\\", "\\\\"}, {"'", "\\'"}});
    absl::StrAppend(&text, "complete -c ", program, " -l ", flag.name.substr(2), " -d '", help, "'");
    if (!flag.choices.empty()) {
      absl::StrAppend(&text, " -x -a '", absl::StrJoin(flag.choices, " "), "'");
    } else if (!flag.value.empty()) {
      text += flag.value == "TEXT" ? " -r -F" : " -x";
    }
    text += "\n";
  }
  return text;
}

}  // namespace

void WrapHelp(CLI::App& app) {
  const auto formatter = std::make_shared<WrappingFormatter>();
  app.formatter(formatter);
  for (CLI::App* subcommand : app.get_subcommands([](CLI::App*) { return true; })) subcommand->formatter(formatter);
}

// NOTE: no word is broken at a line's end (.nh), as names of flags and variables are to be copied.
std::string ManualPage(const CLI::App& app, const std::string& version, const std::string& date) {
  const std::string& program = app.get_name();
  std::string text =
      absl::StrCat(".TH ", absl::AsciiStrToUpper(program), " 1 \"", date, "\" \"denoised ", version,
                   "\"\n.nh\n.ad l\n.SH NAME\n", Paragraph(absl::StrCat(program, " - ", app.get_description())),
                   ".SH SYNOPSIS\n\\fB", Troff(program), "\\fR [\\fIOPTION\\fR]...", PositionalsOf(app), "\n");
  for (const CLI::App* subcommand : SubcommandsOf(app)) {
    absl::StrAppend(&text, ".br\n\\fB", Troff(program), " ", subcommand->get_name(), "\\fR [\\fIOPTION\\fR]...",
                    PositionalsOf(*subcommand), "\n");
  }
  text += OptionsPart(app, "OPTIONS");
  for (const CLI::App* subcommand : SubcommandsOf(app)) {
    text += OptionsPart(*subcommand, absl::AsciiStrToUpper(subcommand->get_name()));
    text += FooterPart(*subcommand);
  }
  if (!app.get_footer().empty()) {
    const std::string footer = FooterPart(app);
    absl::StrAppend(&text, ".SH NOTES\n", absl::StripPrefix(footer, ".PP\n"));
  }
  return text;
}

absl::StatusOr<std::string> Completions(const CLI::App& app, const std::string& shell) {
  const Words words = WordsOf(app);
  if (shell == "bash") return BashCompletions(app.get_name(), words);
  if (shell == "zsh") return ZshCompletions(app.get_name(), words);
  if (shell == "fish") return FishCompletions(app.get_name(), words);
  return absl::InvalidArgumentError(absl::StrCat("--print_completions must be bash, zsh or fish, got ", shell));
}

}  // namespace denoised
