# Completion of the command tine for bash. The words come from the command itself.
_tine() {
    local word=${COMP_WORDS[COMP_CWORD]} command=(tine) i
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -* ]] && break
        command+=("${COMP_WORDS[i]}")
        [[ ${COMP_WORDS[i]} == bench ]] || break
    done
    COMPREPLY=()
    if [[ ${#command[@]} == 1 || ${command[-1]} == bench || $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("${command[@]}" --help=words 2>/dev/null)" -- "$word")
    fi
}
complete -o default -F _tine tine
